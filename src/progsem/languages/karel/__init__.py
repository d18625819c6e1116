"""Karel, the language: what programs and worlds are, and what statements mean."""
