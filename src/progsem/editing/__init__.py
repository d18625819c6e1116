"""Causal edits: is what a probe reads also what the model uses?"""
