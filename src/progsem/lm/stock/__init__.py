"""Any causal language model of `transformers` in CodeGen's place, as that library computes it."""
