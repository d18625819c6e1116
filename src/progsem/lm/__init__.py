"""The language model: training, inference, and what it writes."""
