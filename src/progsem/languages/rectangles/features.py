"""What a probe is asked about a program state, as integer labels.

`bounds` are numbers that the program itself says: exchanging rows for columns renames them, and makes them neither
easier nor harder to read. The others are of the points as well, which only the specification says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from progsem.languages.labels import Head
from progsem.languages.rectangles.codes import ACTIONS
from progsem.languages.rectangles.execution import UNSET, ProgramStates, inside


class Feature(NamedTuple):
    """A question about N program states.

    classes: what each head may answer, by its name, for lists of up to so many points; class k is the k-th. labels: the
    right ones, (N,) for each head. meaning: what the labels say, in words.
    """

    classes: Callable[[int], dict[str, Sequence]]
    labels: Callable[[ProgramStates], list[np.ndarray]]
    meaning: str


FEATURES = {
    "bounds": Feature(
        lambda points: dict.fromkeys(ACTIONS, (*range(UNSET), "none")),
        lambda states: list(states.bounds.T),
        "the number that was said; 7 none so far",
    ),
    "first_point": Feature(
        lambda points: {"inside": ("no", "yes")},
        lambda states: [inside(states.points[:, :1], states.bounds)[:, 0]],
        "1 if the first point is within the bounds so far",
    ),
    "points_inside": Feature(
        lambda points: {"count": range(points + 1)},
        lambda states: [inside(states.points, states.bounds).sum(axis=1)],
        "how many points are within the bounds so far",
    ),
}


def classes(features: tuple[str, ...], metadata: dict) -> list[list[str]]:
    """What the classes of each head of the features are called, in order; `metadata` as for `heads`."""
    every = [FEATURES[feature].classes(metadata["points"]) for feature in features]
    return [[str(name) for name in names] for heads in every for names in heads.values()]


def heads(features: tuple[str, ...], metadata: dict) -> list[Head]:
    """The heads of the features, in order; `metadata` says how many `points` a list may have."""
    classes = {feature: FEATURES[feature].classes(metadata["points"]) for feature in features}
    return [Head(feature, name, len(names)) for feature, heads in classes.items() for name, names in heads.items()]


def labels(features: tuple[str, ...], states: ProgramStates) -> np.ndarray:
    """The labels of N program states: (N, heads) uint8, columns in the order of `heads`."""
    return np.stack([column for name in features for column in FEATURES[name].labels(states)], 1).astype(np.uint8)
