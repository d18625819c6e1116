"""Labels of program states: the heads they are of, and the accuracy that the most frequent ones have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Head(NamedTuple):
    """One classification task: the feature it belongs to, its name there, its number of classes."""

    feature: str
    name: str
    classes: int


def spans(heads: list[Head]) -> dict[str, slice]:
    """Where each feature's heads stand in the list: its columns in a matrix of labels."""
    found: dict[str, slice] = {}
    for index, head in enumerate(heads):
        start = found[head.feature].start if head.feature in found else index
        found[head.feature] = slice(start, index + 1)
    return found


def majority_label(train: np.ndarray) -> np.ndarray:
    """The most frequent row of `train` (N, heads) uint8; among equals the smallest. Returns (heads,)."""
    values, counts = np.unique(train, axis=0, return_counts=True)
    return values[counts.argmax()]


def corrected_accuracy(accuracy, majority):
    """Accuracy on the scale where always answering the most frequent label is 0 and always right is 1.

    Takes numbers or arrays. Where the majority answer is always right there is
    nothing to be decoded, and the result is NaN.
    """
    accuracy, majority = np.asarray(accuracy, float), np.asarray(majority, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(majority < 1, (accuracy - majority) / (1 - majority), np.nan)[()]
