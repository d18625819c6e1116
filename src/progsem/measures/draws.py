"""Resamples of what is no test program: a bootstrap of its own, without keeping its weights."""

from __future__ import annotations

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.results import Settings

TRAINING_PROGRAMS, SPECIFICATIONS = 5, 6  # numbers of their streams of random numbers
_HELD = 10_000_000  # weights at a time: 120 MB


def drawn_totals(sums: np.ndarray, settings: Settings, stream: int) -> np.ndarray:
    """Totals (1 + R, K) float64 of sums per unit (C, K): of all units, then of C drawn with replacement.

    The same stream and number of units give the same draws, so that what is computed from them is paired.
    """
    rng = np.random.default_rng([settings.statistics.seed, stream])
    parts = [sums.sum(axis=0, dtype=float)[None]]
    at_once = max(1, _HELD // len(sums))
    for first in range(0, settings.statistics.resamples, at_once):
        count = min(at_once, settings.statistics.resamples - first)
        weights = bootstrap.resampling_weights(len(sums), count, rng)[1:]
        parts.append(bootstrap.totals(weights.astype(float), sums))
    return np.concatenate(parts)
