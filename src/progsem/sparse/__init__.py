"""Sparse dictionaries of a checkpoint's MLPs: transcoders and autoencoders, and whether their features are states.

`dictionary` is how one is fitted, `activations` what it is fitted to, `scores` how its features are set beside the
program's states, and `stage` the stage `transcoders`, which does all of it.
"""
