"""How the replicates of a statistic spread: variances and percentiles, of many statistics in one pass each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.special import ndtri

LANES = 16  # sums that are added up side by side: in the same order on every machine


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
        means[:] = values[0, statistic, first:]
        for unit in range(1, units):
            one = values[unit, statistic, first:]
            for replicate in range(resamples):
                means[replicate] += one[replicate]
        for replicate in range(resamples):
            means[replicate] /= units
        count = 0
        for replicate in range(resamples):
            count += means[replicate] - means[replicate] == 0
        if count < resamples:
            count = 0
            for replicate in range(resamples):
                if np.isfinite(means[replicate]):
                    where[count] = replicate
                    means[count] = means[replicate]
                    count += 1
        found[0, statistic] = count
        if count == 0:
            continue
        apart[:count] = means[0]  # of the size of all of them, so that squares of distances from it are small
        middle, variance = _moments(means[:count], apart[:count])
        middle += means[0]
        deviation = variance**0.5
        bounds = middle + cut * deviation, middle - cut * deviation
        found[3, statistic] = variance
        found[4, statistic] = 0.0
        for unit in range(units if units > 2 else units - 1):
            one = values[unit, statistic, first:]
            if count < resamples:
                for index in range(count):
                    apart[index] = one[where[index]]
                one = apart[:count]
            found[4, statistic] += _moments(one, means[:count])[1]
        if units == 2:  # both are as far from their mean
            found[4, statistic] *= 2
        found[1, statistic], found[2, statistic] = _percentiles(means[:count], tail, bounds, low, high)
    return found


@njit(nogil=True, cache=True)
def _moments(values, others):
    """Mean and variance of the differences of values and others, which are small beside neither's spread."""
    whole = len(values) - len(values) % LANES
    sums, squares = np.zeros(LANES), np.zeros(LANES)
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            apart = values[start + lane] - others[start + lane]
            sums[lane] += apart
            squares[lane] += apart * apart
    total = square = 0.0
    for lane in range(LANES):
        total += sums[lane]
        square += squares[lane]
    for index in range(whole, len(values)):
        apart = values[index] - others[index]
        total += apart
        square += apart * apart
    mean = total / len(values)
    return mean, max(square / len(values) - mean * mean, 0.0)


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
