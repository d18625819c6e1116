"""Procedural warm-up: a language model trained on sequences of a formal task before it sees a program.

After Shinnick et al. 2026 (arXiv 2601.21725). `tasks` draws sequences, `sequences` is the stage that writes them,
`training` the stage that trains on them, and `transfer` puts what was learned into a model with new embeddings.
"""
