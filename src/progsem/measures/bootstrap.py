"""Resampling statistics: pure functions on arrays, without files or config.

Every bootstrapped quantity here is an array whose first axis has length
1 + R: row 0 is the estimate from the data as they are, rows 1… are the R
resamples. Weights are built the same way (row 0 is all ones), so that one
formula gives the estimate and its replicates together, and two quantities
computed from the same weights are paired.

The unit that is drawn again is the program: the states of one program are not
independent, so a program's states enter a resample together, as often as the
program was drawn (cluster bootstrap; Davison & Hinkley 1997, §3.8). Where
there are several language models, they are drawn again as well, crossed with
the programs (Owen 2007, "The pigeonhole bootstrap").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def resampling_weights(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `units` is drawn, float32 of shape (1 + resamples, units).

    Row 0 is all ones. Every other row is one multinomial draw of `units` out of
    `units`, so each sums to `units`.
    """
    weights = np.ones((1 + resamples, units), dtype=np.float32)
    for row in range(1, 1 + resamples):
        weights[row] = np.bincount(rng.integers(0, units, size=units), minlength=units)
    return weights


def rescaled(weights: np.ndarray) -> np.ndarray:
    """Weights (1 + R, S) of few units, spread so that means over them vary as means of S independent units do.

    Drawing S of S units again gives means whose variance is too small by
    (S - 1) / S, half of it for two. Deviations from 1 are widened accordingly (Rao
    & Wu 1988); a single unit keeps weight 1, as nothing can be said of its spread.
    """
    units = weights.shape[1]
    return np.ones_like(weights) if units == 1 else 1 + (weights - 1) * (units / (units - 1)) ** 0.5


def totals(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Totals of each resample: (1 + R, C) weights and (C, …) sums per program to (1 + R, …) float64.

    They are added in the precision of the weights. Sums of counts stay below
    2**24 at any size used here, so that float32 adds them exactly and the
    result does not depend on the order of summation.
    """
    flat = np.ascontiguousarray(sums.reshape(len(sums), -1), dtype=weights.dtype)
    return (weights @ flat).astype(np.float64).reshape(len(weights), *sums.shape[1:])


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient; NaN where nothing was counted."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def interval(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each column of (1 + R, …) values: low and high, of shape (…).

    Replicates in which a quantity is undefined are left out. A column whose
    estimate is undefined, or that is undefined in more than a tenth of its
    replicates, gets NaN: its interval would be of another population.
    """
    values = np.asarray(values, dtype=float)
    flat = values.reshape(len(values), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    defined = np.isfinite(flat)
    enough = defined[0] & (defined[1:].mean(axis=0) >= 0.9)
    whole = enough & defined.all(axis=0)
    if whole.any():
        bounds[:, whole] = np.quantile(flat[1:, whole], tails, axis=0)
    for column in np.flatnonzero(enough & ~whole):
        bounds[:, column] = np.quantile(flat[1:, column][defined[1:, column]], tails)
    low, high = bounds.reshape(2, *values.shape[1:])
    return low, high


def p_value(differences: np.ndarray) -> np.ndarray:
    """Two-sided bootstrap p of "the difference is 0" for each column of (1 + R, …) differences.

    Twice the smaller share of replicates on either side of 0, with one added to
    counts and resamples (so that p is never 0: the smallest is 2 / (R + 1)).
    NaN where the estimate or more than a tenth of the replicates are undefined.
    """
    differences = np.asarray(differences, dtype=float)
    replicates = differences[1:]
    defined = np.isfinite(replicates).sum(axis=0)
    below = ((replicates <= 0).sum(axis=0) + 1) / (defined + 1)
    above = ((replicates >= 0).sum(axis=0) + 1) / (defined + 1)
    p = np.minimum(1.0, 2 * np.minimum(below, above))
    return np.where(np.isfinite(differences[0]) & (defined >= 0.9 * len(replicates)), p, np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment over the last axis; undefined p are no part of the family.

    The m p-values in rising order are multiplied by m, m - 1, …, 1, made to
    rise, and cut at 1 (Holm 1979).
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    for index in np.ndindex(p.shape[:-1]):
        family = np.flatnonzero(np.isfinite(p[index]))
        order = family[np.argsort(p[index][family], kind="stable")]
        factors = len(order) - np.arange(len(order))
        adjusted[index][order] = np.minimum(1.0, np.maximum.accumulate(p[index][order] * factors))
    return adjusted


def entropy_bits(counts: np.ndarray) -> float:
    """Shannon entropy of the distribution that `counts` describe, in bits; 0 for no or one outcome."""
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return 0.0
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@dataclass(frozen=True)
class Regression:
    """A straight line through points; NaN where they do not determine one."""

    slope: float
    intercept: float
    r2: float


def regress(x: np.ndarray, y: np.ndarray) -> Regression:
    """Ordinary least squares of `y` on `x`, both of shape (n,).

    `r2` is the squared correlation. Undefined (NaN) below three points, or if
    either is constant.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Regression(math.nan, math.nan, math.nan)
    dx, dy = x - x.mean(), y - y.mean()
    slope = (dx @ dy) / (dx @ dx)
    return Regression(float(slope), float(y.mean() - slope * x.mean()), float((dx @ dy) ** 2 / ((dx @ dx) * (dy @ dy))))


def block_length(points: int) -> int:
    """Length of a moving block over `points` successive checkpoints: the cube root, rounded up, at least 2."""
    return min(max(points, 1), max(2, math.ceil(round(points ** (1 / 3), 9))))


def block_weights(points: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `points` successive checkpoints is drawn in blocks, float64 (1 + resamples, points).

    A resample is enough blocks of `block_length(points)` neighbours, with
    starts drawn uniformly, cut to `points` draws (Künsch 1989). Row 0 is all ones.
    """
    length = block_length(points)
    blocks = math.ceil(points / length)
    starts = rng.integers(0, points - length + 1, size=(resamples, blocks, 1))
    drawn = (starts + np.arange(length)).reshape(resamples, -1)[:, :points]
    weights = np.zeros((1 + resamples, points))
    weights[0] = 1
    np.add.at(weights[1:], (np.arange(resamples)[:, None], drawn), 1)
    return weights


def regress_blocks(
    series: list[tuple[np.ndarray, np.ndarray]], resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Moving-block bootstrap of a regression over checkpoints, which are autocorrelated.

    `series` has one pair (x, y) of shape (n,) a language model, in the order of
    training; its points are drawn in blocks (`block_weights`), and where there
    are several language models these are drawn with replacement as well.
    Returns slope and R², each of shape (1 + resamples,), NaN where undefined.
    """
    centre_x = np.mean(np.concatenate([x for x, _ in series]))
    centre_y = np.mean(np.concatenate([y for _, y in series]))
    models = resampling_weights(len(series), resamples, rng)
    moments = np.zeros((1 + resamples, 6))
    for which, (x, y) in enumerate(series):
        x, y = np.asarray(x) - centre_x, np.asarray(y) - centre_y
        terms = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
        moments += models[:, which, None] * (block_weights(len(x), resamples, rng) @ terms)
    n, sum_x, sum_y, xx, yy, xy = moments.T
    # A resample that repeats one point has no line through it; rounding leaves its variance just off 0.
    variance_x = _positive(xx - sum_x**2 / n, 1e-9 * moments[0, 3])
    variance_y = _positive(yy - sum_y**2 / n, 1e-9 * moments[0, 4])
    covariance = xy - sum_x * sum_y / n
    if n[0] < 3:
        variance_x[:] = np.nan
    return covariance / variance_x, covariance**2 / (variance_x * variance_y)


def _positive(values: np.ndarray, smallest: float) -> np.ndarray:
    return np.where(values > smallest, values, np.nan)


def rise(values: np.ndarray, fraction: float, smallest: float) -> int | None:
    """Index at which a curve starts the rise to its maximum, or None if it hardly rises.

    The base is the lowest value before the (first) maximum. The rise starts at
    the first point after which, up to the maximum, the curve stays above
    base + `fraction` * (maximum - base): a lone early spike does not count.
    None if the curve has fewer than two points or rises by less than `smallest`.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return None
    top = int(np.argmax(values))
    base = values[: top + 1].min()
    if values[top] - base < smallest:
        return None
    threshold = base + fraction * (values[top] - base)
    return int(np.flatnonzero(values[: top + 1] <= threshold)[-1]) + 1
