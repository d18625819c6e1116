"""Resamples of programs the slow, obvious way: weights, and products with them."""

import numpy as np


def weights_of(programs, resamples, rng):
    """How often each program is in the data (once) and in each resample: float (1 + R, C)."""
    weights = np.ones((1 + resamples, programs))
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, programs, size=programs), minlength=programs)
    return weights


def totals(weights, sums):
    """Totals of each resample: (1 + R, C) weights and (C, …) sums per program to (1 + R, …)."""
    return (weights @ sums.reshape(len(sums), -1)).reshape(len(weights), *sums.shape[1:])
