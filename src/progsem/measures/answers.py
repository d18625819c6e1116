"""Compiled loops from probes' answers to numbers of right ones, and from totals of these to accuracies."""

from __future__ import annotations

import numpy as np

from progsem.jobs.compiled import njit


@njit(nogil=True, cache=True)
def compare(predicted, label, depths, right):
    """Whether answers (N, depths, seeds, heads) are the label's (N, heads) on all heads: into `right` (N, D, S) bool.

    `depths` (D,) are those of the probes that are looked at.
    """
    for state in range(len(label)):
        for d, depth in enumerate(depths):
            for seed in range(predicted.shape[2]):
                same = True
                for head in range(label.shape[1]):
                    same &= predicted[state, depth, seed, head] == label[state, head]
                right[state, d, seed] = same


@njit(nogil=True, cache=True)
def count(cluster, rows, chosen, majority, right, counts):
    """Add to `counts` (F, 2 + D * S, C) uint16 over the states `rows` (n,), each for the features where it is chosen.

    cluster: (N,), which of C programs a state is of; chosen: (n, F) bool; majority: (N, F) bool; right: (N, F, D, S)
    bool. Counted are the states, on how many the majority class is right, and on how many the probe of each depth and
    seed is.
    """
    features, depths, seeds = right.shape[1:]
    for index, state in enumerate(rows):
        program = cluster[state]
        for feature in range(features):
            if chosen[index, feature]:
                of_feature = counts[feature]
                of_feature[0, program] += 1
                of_feature[1, program] += majority[state, feature]
                for depth in range(depths):
                    for seed in range(seeds):
                        of_feature[2 + depth * seeds + seed, program] += right[state, feature, depth, seed]


@njit(nogil=True, cache=True)
def tally(values, rows, chosen, counts):
    """Add to `counts` how often each value (N,) is there among `rows` (n,), of which only the chosen (n,) count."""
    for index, row in enumerate(rows):
        if chosen[index]:
            counts[values[row]] += 1


@njit(nogil=True, cache=True)
def differing(rows, chosen, there, differs, counts):
    """Add to `counts` (2, F) on how many of the states `rows` (n,) a label differs, and how many there are.

    chosen: (n, F) bool, the features for which each counts; there: (N,) bool, which states count at all; differs:
    (N, F) bool.
    """
    for index, state in enumerate(rows):
        if there[state]:
            for feature in range(chosen.shape[1]):
                if chosen[index, feature]:
                    counts[0, feature] += differs[state, feature]
                    counts[1, feature] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def accuracies(counted, accuracy, majority, corrected):
    """Accuracies from totals (F, 2 + D * S, 1 + R) as `count` has them, NaN where nothing was counted.

    Into accuracy, corrected: (S, F', D, 1 + R) and majority: (F', 1 + R), of which only the first F features are
    written. Corrected is `features.corrected_accuracy`.
    """
    features, columns, replicates = counted.shape
    seeds, _, depths, _ = accuracy.shape
    for feature in range(features):
        states, most_frequent = counted[feature, 0], majority[feature]
        for replicate in range(replicates):
            most_frequent[replicate] = counted[feature, 1, replicate] / states[replicate]
        for depth in range(depths):
            for seed in range(seeds):
                right = counted[feature, 2 + depth * seeds + seed]
                raw, above = accuracy[seed, feature, depth], corrected[seed, feature, depth]
                for replicate in range(replicates):
                    share = right[replicate] / states[replicate]
                    least = most_frequent[replicate]
                    raw[replicate] = share
                    above[replicate] = (share - least) / (1 - least) if least < 1 else np.nan


@njit(nogil=True, cache=True)
def average(values, defined):
    """Write into the last feature of values (U, F + 1, D, 1 + R) the mean of those that are defined, (F,) bool."""
    units, features, depths, replicates = values.shape
    whole = defined.sum()
    for unit in range(units):
        for depth in range(depths):
            mean = values[unit, features - 1, depth]
            mean[:] = 0.0 if whole else np.nan
            for feature in range(features - 1):
                if defined[feature]:
                    one = values[unit, feature, depth]
                    for replicate in range(replicates):
                        mean[replicate] += one[replicate]
            if whole:
                for replicate in range(replicates):
                    mean[replicate] /= whole
