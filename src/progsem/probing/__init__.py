"""Probes of hidden states, and what else could answer as they do."""
