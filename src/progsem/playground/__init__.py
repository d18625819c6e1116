"""A page on which a study's language model runs in the reader's browser, with its probes and its edits."""
