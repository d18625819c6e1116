"""Numbers that stages go by, and that a config is checked against or its work counted by."""

MAX_POSITIONS = 2048  # tokens that the language model can read
FEWEST_STATES = {"train": 50, "validation": 20, "test": 20}  # of each split, for probes to be fitted and reported
LEARNING_STEPS, LEARNING_BATCH = 200, 64  # of a subspace that is learned from what a model does
