"""Bootstrap resamples of programs, and totals over them of whatever is counted of each program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progsem.measures.results import Settings

TEST_PROGRAMS, PHASES, TRAINING_PROGRAMS, SPECIFICATIONS = 0, 1, 5, 6  # numbers of their streams of random numbers
SINGLE, DOUBLE = 24, 53  # bits of the whole numbers that float32 and float64 hold exactly
FRACTION = 30  # bits after the point that are kept of numbers that are not whole
_ROWS = 256  # resamples that are multiplied in double precision at a time


def resampling_weights(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `units` is drawn, float32 of shape (1 + resamples, units).

    Row 0 is all ones. Every other row is one multinomial draw of `units` out of
    `units`, so each sums to `units`.
    """
    weights = np.ones((1 + resamples, units), np.float32)
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, units, size=units), minlength=units)
    return weights


@dataclass(frozen=True)
class Resamples:
    """How often each of C programs is in the data (once) and in R resamples: weights (1 + R, C) float32.

    They may be some of the programs that were drawn from, so that a resample has more or fewer than C.
    """

    weights: np.ndarray

    @classmethod
    def drawn(cls, settings: Settings, stream: int, programs: int) -> Resamples:
        """Resamples of so many programs; the same stream and number of programs give the same draws."""
        rng = np.random.default_rng([settings.statistics.seed, stream])
        return cls(resampling_weights(programs, settings.statistics.resamples, rng))

    def data_alone(self) -> Resamples:
        """Without resamples."""
        return Resamples(self.weights[:1])

    def totals(self, numbers: np.ndarray) -> np.ndarray:
        """Totals (1 + R, …) float64 of numbers (C, …), in the data and in each resample.

        They are products of the weights and the numbers, in a precision that holds every sum exactly: totals depend
        neither on the order of summation nor on the number of threads. Numbers that are not whole are first rounded
        to multiples of 2**-30, or coarser ones where they are large; whole ones must not be negative. Totals of one
        number lie side by side in memory.
        """
        flat = numbers.reshape(len(numbers), -1).T  # (K, C)
        if flat.dtype.kind == "f":
            lowest = flat.min(axis=1, keepdims=True)
            widest = (flat - lowest).max(axis=1, keepdims=True) * len(numbers)
            fraction = np.minimum(FRACTION, DOUBLE - 1 - np.ceil(np.log2(np.maximum(widest, 1))))
            whole = np.rint((flat - lowest) * 2.0**fraction)
            totals = self._whole(whole) * 2.0**-fraction + lowest * self.weights.sum(axis=1, dtype=float)
        else:
            totals = self._whole(flat)
        return np.moveaxis(totals.reshape(*numbers.shape[1:], -1), -1, 0)

    def _whole(self, flat: np.ndarray) -> np.ndarray:
        """Totals (K, 1 + R) float64 of whole numbers (K, C) that are not negative."""
        if flat.max(initial=0) * flat.shape[1] < 2**SINGLE:
            return (flat.astype(np.float32) @ self.weights.T).astype(float)
        flat, slices = flat.astype(float), range(0, len(self.weights), _ROWS)
        return np.concatenate([flat @ self.weights[first : first + _ROWS].T for first in slices], axis=1)
