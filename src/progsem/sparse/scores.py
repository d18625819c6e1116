"""Whether features are the program's states: coverage and reconstruction (Karvonen et al. 2024, arXiv 2408.00113).

A *property* is one value of one label of a program state, such as that the robot faces north. A feature says yes to it
where its activation is above a threshold, a share of its largest one.

coverage
    The best F1 of any feature for a property, mean over properties.
reconstruction
    The F1 of all that is said of all states and properties, where a property is said to hold if any feature says so
    that is right in at least `PRECISION` of what it says.

There, features and thresholds are chosen and judged on the same boards. Here they are chosen on the training states
and judged on the test states, and a feature is held for precise if it would hardly be right so often were what it says
independent of the property: if the chance is below `CHANCE` that any of the features is, at any threshold. So the
scores of many features can stand beside those of few.

N states, F features, P properties.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from progsem.languages.labels import Head

THRESHOLDS = tuple(round(0.1 * tenth, 1) for tenth in range(10))  # shares of a feature's largest activation
PRECISION = 0.95
CHANCE = 0.05  # of the features together, for each property
_FEWEST = 10  # training states of which a feature has to say so, to be held for precise


class Property(NamedTuple):
    """One value of one head's labels."""

    head: int
    value: int


class Found(NamedTuple):
    """Of each property, the feature that covers it best: its number, threshold, F1 and precision on test states (P,).

    train_f1: (P,), the F1 on training states, by which it was chosen.
    always: (P,), the F1 of saying yes of every test state, which is high for what nearly always holds.
    reconstruction: the F1 of all high-precision features together; precise: how many features are (of some property).
    """

    properties: list[Property]
    feature: np.ndarray
    threshold: np.ndarray
    f1: np.ndarray
    train_f1: np.ndarray
    precision: np.ndarray
    always: np.ndarray
    reconstruction: float
    precise: int

    @property
    def coverage(self) -> float:
        """Mean over properties."""
        return float(self.f1.mean())


def properties(heads: list[Head], train: np.ndarray, test: np.ndarray) -> list[Property]:
    """Those that hold of some training states (N, heads) and of some test states, and not of all of either."""
    found = []
    for number, head in enumerate(heads):
        for value in range(head.classes):
            shares = [(labels[:, number] == value).mean() for labels in (train, test)]
            if all(0 < share < 1 for share in shares):
                found.append(Property(number, value))
    return found


def holds(labels: np.ndarray, properties: list[Property]) -> np.ndarray:
    """Which properties hold of states (N, heads): (N, P) bool."""
    return np.stack([labels[:, one.head] == one.value for one in properties], axis=1)


def score(train: np.ndarray, test: np.ndarray, labels: tuple[np.ndarray, np.ndarray], heads: list[Head]) -> Found:
    """Set features beside properties; activations (N, F) of the training and the test states, and their labels."""
    asked = properties(heads, *labels)
    true_train, true_test = (holds(one, asked) for one in labels)
    largest = train.max(axis=0)
    best = np.full(len(asked), -1.0)
    feature, threshold = np.zeros(len(asked), np.int64), np.zeros(len(asked))
    # Of each feature and property, the lowest threshold at which it is precise, if there is one.
    precise = np.full((train.shape[1], len(asked)), np.inf)
    every = np.arange(len(asked))
    for share, f1, precision, said in _at_thresholds(train, largest, true_train):
        leading = f1.argmax(axis=0)
        better = f1[leading, every] > best
        best = np.where(better, f1[leading, every], best)
        feature, threshold = np.where(better, leading, feature), np.where(better, share, threshold)
        good = (precision >= PRECISION) & (said >= _FEWEST)[:, None] & np.isinf(precise)
        good &= _luck(said, precision, true_train.mean(axis=0), good) < CHANCE / train.shape[1] / len(THRESHOLDS)
        precise = np.where(good, share, precise)
    says = test[:, feature] > threshold * largest[feature]
    right = (says & true_test).sum(axis=0)
    return Found(
        properties=asked,
        feature=feature,
        threshold=threshold,
        f1=_f1(right, says.sum(axis=0), true_test.sum(axis=0)),
        train_f1=best,
        precision=_share(right, says.sum(axis=0)),
        always=_f1(true_test.sum(axis=0), len(true_test), true_test.sum(axis=0)),
        reconstruction=_reconstructed(test, largest, precise, true_test),
        precise=int(np.isfinite(precise).any(axis=1).sum()),
    )


def _at_thresholds(activations: np.ndarray, largest: np.ndarray, true: np.ndarray) -> Iterator[tuple]:
    """Threshold; F1 and precision (F, P); of how many states each feature says yes (F,)."""
    wanted, held = true.astype(np.float32), true.sum(axis=0)
    for share in THRESHOLDS:
        says = activations > share * largest
        said, right = says.sum(axis=0), says.T.astype(np.float32) @ wanted
        yield share, _f1(right, said[:, None], held), _share(right, said[:, None]), said


def _luck(said: np.ndarray, precision: np.ndarray, share: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How likely features (F, P) are right so often in what they say of (F,) states, if that says nothing.

    share: (P,), of states that have a property. Only `where` that is asked; elsewhere 1.
    """
    found = np.ones(where.shape)
    feature, place = np.nonzero(where)
    count = said[feature]
    right = np.rint(precision[feature, place] * count)
    found[feature, place] = binom.sf(right - 1, count, share[place])
    return found


def _reconstructed(test: np.ndarray, largest: np.ndarray, precise: np.ndarray, true: np.ndarray) -> float:
    """F1 of what high-precision features say together of all states and properties."""
    says = np.zeros(true.shape, bool)
    for number in range(true.shape[1]):
        chosen = np.flatnonzero(np.isfinite(precise[:, number]))
        says[:, number] = (test[:, chosen] > precise[chosen, number] * largest[chosen]).any(axis=1)
    return float(_f1((says & true).sum(), says.sum(), true.sum()))


def _share(right, said):
    return right / np.maximum(said, 1)


def _f1(right, said, held):
    """2 right / (said + held); 0 where nothing is said."""
    return 2 * right / np.maximum(said + held, 1)
