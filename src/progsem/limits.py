"""Bounds that a config is checked against and that stages go by."""

MAX_POSITIONS = 2048  # tokens that the language model can read
FEWEST_STATES = {"train": 50, "validation": 20, "test": 20}  # of each split, for probes to be fitted and reported
