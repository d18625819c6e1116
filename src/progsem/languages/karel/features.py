"""What a probe is asked about a program state, as integer labels.

A *feature* is one question; it has one or more *heads*, each a classification
task with a probe of its own. A feature counts as right only if all its heads
are. Columns are x, counted eastwards; rows are y, counted southwards; the cell
in the north-western corner is (0, 0). What lies beyond the grid is a wall.

A positive dx means that the robot is now further east, a positive dy further south, than
at the start (or than it will be at the end).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from progsem.languages.karel.codes import WALL
from progsem.languages.labels import Head

if TYPE_CHECKING:
    from progsem.languages.karel.execution import ProgramStates

ROW_STEP = np.array([-1, 0, 1, 0])  # by heading: north, east, south, west
COLUMN_STEP = np.array([0, 1, 0, -1])
_NO_YES = ("no", "yes")
MANY_MARKERS = 3  # so many and more are one class: worlds are drawn with one a cell, so higher counts are rare


class Feature(NamedTuple):
    """A question about N program states.

    classes: what each head may answer, by its name, on a grid of so many rows and columns; class k is the k-th. labels:
    the right ones, (N,) for each head. meaning: what the labels say, in words.
    """

    classes: Callable[[int, int], dict[str, Sequence]]
    labels: Callable[[ProgramStates], list[np.ndarray]]
    meaning: str


def _wall(states: ProgramStates, towards: np.ndarray) -> np.ndarray:
    """(N,) bool: whether the neighbouring cell in a direction (N,) is a wall."""
    (count, height, width), (row, column, _) = states.cells.shape, states.poses.T.astype(np.intp)
    there_row, there_column = row + ROW_STEP[towards], column + COLUMN_STEP[towards]
    inside = (there_row >= 0) & (there_row < height) & (there_column >= 0) & (there_column < width)
    there = states.cells[np.arange(count), there_row.clip(0, height - 1), there_column.clip(0, width - 1)]
    return ~inside | (there == WALL)


def _offset(states: ProgramStates, reference: np.ndarray) -> list[np.ndarray]:
    """dx and dy of the robot from where it is in poses (N, 3), made positive."""
    (_, height, width), poses = states.cells.shape, states.poses.astype(np.intp)
    return [poses[:, 1] - reference[:, 1] + width - 1, poses[:, 0] - reference[:, 0] + height - 1]


def _offsets(height: int, width: int) -> dict[str, Sequence]:
    return {"dx": range(1 - width, width), "dy": range(1 - height, height)}


FEATURES = {
    "facing": Feature(
        lambda height, width: {"heading": ("north", "east", "south", "west")},
        lambda states: [states.poses[:, 2]],
        "0 north, 1 east, 2 south, 3 west",
    ),
    "offset_from_start": Feature(
        _offsets,
        lambda states: _offset(states, states.starts),
        "x (y) now less that at the start, plus W - 1 (H - 1)",
    ),
    "offset_from_end": Feature(
        _offsets,
        lambda states: _offset(states, states.ends),
        "x (y) now less that at the end, plus W - 1 (H - 1)",
    ),
    "wall_ahead": Feature(
        lambda height, width: {"wall": _NO_YES},
        lambda states: [_wall(states, states.poses[:, 2])],
        "1 if the cell in front is a wall",
    ),
    "position": Feature(
        lambda height, width: {"x": range(width), "y": range(height)},
        lambda states: [states.poses[:, 1], states.poses[:, 0]],
        "x, y",
    ),
    "neighbour_walls": Feature(
        lambda height, width: dict.fromkeys(("north", "east", "south", "west"), _NO_YES),
        lambda states: [_wall(states, np.full(len(states.poses), direction)) for direction in range(4)],
        "1 if that neighbour is a wall, whatever the heading",
    ),
    "markers": Feature(
        lambda height, width: {"count": (*range(MANY_MARKERS), f"{MANY_MARKERS} or more")},
        lambda states: [np.minimum(states.markers, MANY_MARKERS)],
        "on the robot's cell; 3 means three or more",
    ),
    "branch": Feature(
        lambda height, width: {"outcome": ("none", "failed", "held")},
        lambda states: [states.branch],
        "the last condition of an if, ifelse or while, its not included: 0 none so far, 1 failed, 2 held",
    ),
}


def classes(features: tuple[str, ...], metadata: dict) -> list[list[str]]:
    """What the classes of each head of the features are called, in order; `metadata` as for `heads`."""
    shape = metadata["height"], metadata["width"]
    return [
        [str(name) for name in names] for feature in features for names in FEATURES[feature].classes(*shape).values()
    ]


def heads(features: tuple[str, ...], metadata: dict) -> list[Head]:
    """The heads of the features, in order; `metadata` says the `height` and `width` of worlds."""
    shape = metadata["height"], metadata["width"]
    return [
        Head(feature, name, len(names))
        for feature in features
        for name, names in FEATURES[feature].classes(*shape).items()
    ]


def labels(features: tuple[str, ...], states: ProgramStates) -> np.ndarray:
    """The labels of N program states: (N, heads) uint8, columns in the order of `heads`."""
    return np.stack([column for name in features for column in FEATURES[name].labels(states)], 1).astype(np.uint8)
