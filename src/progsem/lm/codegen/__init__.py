"""CodeGen, the default study's language model, in a forward pass of its own: fast on a CPU, and short."""
