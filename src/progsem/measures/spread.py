"""How the replicates of a statistic spread: variances and percentiles, of many statistics in one pass each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from progsem.jobs.compiled import njit

LANES = 32  # sums that are added up side by side: in the same order on every machine; 16 take thrice as long


class Spread(NamedTuple):
    """Of the replicates of K statistics, each (K,): how many are defined, and of these percentiles and variances.

    low, high: percentiles of the mean over units; variance: its variance; own: the sum over
    units of the variance of their distance from it. NaN where none is defined.
    """

    defined: np.ndarray
    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    own: np.ndarray


def spread(values: np.ndarray, first: int, confidence: float) -> Spread:
    """How the means over U units of values (U, K, n) spread over the replicates `first`, first + 1, …, n - 1.

    Percentiles leave out (1 - confidence) / 2 on either side. Replicates in which the mean is not finite are left out.
    """
    resamples = values.shape[2] - first
    tail = (1 - confidence) / 2
    # Somewhat more than the tail is looked through for its percentile.
    share = 1.3 * tail + 2 * math.sqrt(tail / max(resamples, 1))
    return Spread(*_spread(np.ascontiguousarray(values), first, tail, float(ndtri(min(share, 0.5)))))


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(values, first, tail, cut):
    units, statistics = values.shape[:2]
    resamples = values.shape[2] - first
    found = np.full((5, statistics), np.nan)
    means, apart, low, high = np.empty(resamples), np.empty(resamples), np.empty(resamples), np.empty(resamples)
    where = np.empty(resamples, np.int64)
    for statistic in range(statistics):
        _average(values, statistic, first, means)
        middle, variance = _moments(means)
        count = resamples
        if not math.isfinite(variance):
            count = 0
            for replicate in range(resamples):
                if math.isfinite(means[replicate]):
                    where[count] = replicate
                    means[count] = means[replicate]
                    count += 1
            middle, variance = _moments(means[:count])
        found[0, statistic] = count
        if count == 0:
            continue
        deviation = variance**0.5
        bounds = middle + cut * deviation, middle - cut * deviation
        found[3, statistic] = variance
        found[4, statistic] = 0.0
        for unit in range(units if units > 2 else units - 1):
            one = values[unit, statistic, first:]
            for index in range(count):
                apart[index] = one[where[index] if count < resamples else index] - means[index]
            found[4, statistic] += _moments(apart[:count])[1]
        if units == 2:  # both are as far from their mean
            found[4, statistic] *= 2
        found[1, statistic], found[2, statistic] = _percentiles(means[:count], tail, bounds, low, high)
    return found


@njit(nogil=True, cache=True)
def _average(values, statistic, first, means):
    """The mean over units of a statistic's replicates, `values` being those of `_spread`, into means (n,)."""
    units = len(values)
    means[:] = values[0, statistic, first:]
    for unit in range(1, units):
        one = values[unit, statistic, first:]
        for replicate in range(len(means)):
            means[replicate] += one[replicate]
    if units > 1:
        share = 1 / units
        for replicate in range(len(means)):
            means[replicate] *= share


@njit(nogil=True, cache=True)
def _moments(values):
    """Mean and variance; if one of the values is not finite, neither is the variance."""
    if len(values) == 0:
        return np.nan, np.nan
    sums, squares = np.zeros(LANES), np.zeros(LANES)
    near = values[0]
    whole = len(values) - len(values) % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            apart = values[start + lane] - near
            sums[lane] += apart
            squares[lane] += apart * apart
    for index in range(whole, len(values)):
        apart = values[index] - near
        sums[index - whole] += apart
        squares[index - whole] += apart * apart
    mean, square = sums.sum() / len(values), squares.sum() / len(values)
    return near + mean, max(square - mean * mean, 0.0) if math.isfinite(square) else np.nan


@njit(nogil=True, cache=True)
def _percentiles(values, tail, bounds, low, high):
    """The percentiles that a share `tail` is below, and above; linear between values.

    Only values beyond `bounds` are looked through, if they are enough. `low` and `high` are room for them.
    """
    place = tail * (len(values) - 1)
    needed = min(int(place), max(len(values) - 2, 0)) + 2
    few = many = 0
    for value in values:
        if value < bounds[0]:
            low[few] = value
            few += 1
        elif value > bounds[1]:
            high[many] = -value
            many += 1
    if few < needed:
        few = len(values)
        for index in range(few):
            low[index] = values[index]
    if many < needed:
        many = len(values)
        for index in range(many):
            high[index] = -values[index]
    return _between(low[:few], place), -_between(high[:many], place)


@njit(nogil=True, cache=True)
def _between(values, place):
    """What is at a place, which need not be a whole number, among values in rising order; reorders them."""
    if len(values) == 1:
        return values[0]
    rank = min(int(place), len(values) - 2)
    low, high = 0, len(values) - 1
    while low < high:  # values before `low` are no larger, those beyond `high` no smaller (Hoare's selection)
        pivot, left, right = values[(low + high) // 2], low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if rank > right:
            low = left
        if rank < left:
            high = right
    following = values[rank + 1]
    for index in range(rank + 2, len(values)):
        following = min(following, values[index])
    return values[rank] + (following - values[rank]) * (place - rank)
