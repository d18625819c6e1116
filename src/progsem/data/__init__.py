"""From sampled programs to documents of token ids."""
