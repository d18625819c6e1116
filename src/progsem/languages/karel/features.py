"""What a probe is asked about a program state, as integer labels.

A *feature* is one question; it has one or more *heads*, each a classification
task with a probe of its own. A feature counts as right only if all its heads
are. Columns are x, counted eastwards; rows are y, counted southwards; the cell
in the north-western corner is (0, 0). What lies beyond the grid is a wall.

| feature           | heads                    | classes        | label |
|-------------------|--------------------------|----------------|-------|
| facing            | heading                  | 4              | 0 north, 1 east, 2 south, 3 west |
| offset_from_start | dx, dy                   | 2W - 1, 2H - 1 | x (y) now less that at the start, plus W - 1 (H - 1) |
| offset_from_end   | dx, dy                   | 2W - 1, 2H - 1 | x (y) now less that at the end, plus W - 1 (H - 1) |
| wall_ahead        | wall                     | 2              | 1 if the cell in front is a wall |
| position          | x, y                     | W, H           | x, y |
| neighbour_walls   | north, east, south, west | 2 each         | 1 if that neighbour is a wall, whatever the heading |
| markers           | count                    | 4              | on the robot's cell; 3 means three or more |
| branch            | outcome                  | 3              | last condition: 0 none so far, 1 failed, 2 held |

So a positive dx means that the robot is now further east, a positive dy further
south, than at the start (or than it will be at the end). `branch` is about any `if`,
`ifelse` or `while` (`not` counts as part of its condition, `repeat` has none); in a
straight-line program it is always 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from progsem.languages.karel.codes import HELD, WALL

ROW_STEP = np.array([-1, 0, 1, 0])  # by heading: north, east, south, west
COLUMN_STEP = np.array([0, 1, 0, -1])
MANY_MARKERS = 3  # so many and more are one class: worlds are drawn with one a cell, so higher counts are rare


class Head(NamedTuple):
    """One classification task: the feature it belongs to, its name there, its number of classes."""

    feature: str
    name: str
    classes: int


def heads(features: tuple[str, ...], height: int, width: int) -> list[Head]:
    """The heads of the features, in order, on a grid of `height` rows and `width` columns."""
    x, y = 2 * width - 1, 2 * height - 1
    classes = {
        "facing": {"heading": 4},
        "offset_from_start": {"dx": x, "dy": y},
        "offset_from_end": {"dx": x, "dy": y},
        "wall_ahead": {"wall": 2},
        "position": {"x": width, "y": height},
        "neighbour_walls": {"north": 2, "east": 2, "south": 2, "west": 2},
        "markers": {"count": MANY_MARKERS + 1},
        "branch": {"outcome": HELD + 1},
    }
    return [Head(feature, name, count) for feature in features for name, count in classes[feature].items()]


def spans(heads: list[Head]) -> dict[str, slice]:
    """Where each feature's heads stand in the list: its columns in a matrix of labels."""
    found: dict[str, slice] = {}
    for index, head in enumerate(heads):
        start = found[head.feature].start if head.feature in found else index
        found[head.feature] = slice(start, index + 1)
    return found


def labels(
    features: tuple[str, ...],
    cells: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    poses: np.ndarray,
    markers: np.ndarray,
    branch: np.ndarray,
) -> np.ndarray:
    """The labels of N program states.

    `cells` (N, H, W) uint8 is the world in which the program ran (walls do not
    move, so any moment will do); `starts`, `ends` and `poses` (N, 3) are the
    robot's row, column and heading at the start, at the end, and in the state
    asked about; there, `markers` (N,) uint8 lie on its cell and `branch` (N,) uint8
    is how the last condition came out (as in `karel.kernels.Trace`). Returns
    (N, heads) uint8, columns in the order of `heads`.
    """
    height, width = cells.shape[1:]
    row, column, heading = (poses[:, index].astype(np.intp) for index in range(3))

    def wall(towards: np.ndarray) -> np.ndarray:
        there_row, there_column = row + ROW_STEP[towards], column + COLUMN_STEP[towards]
        inside = (there_row >= 0) & (there_row < height) & (there_column >= 0) & (there_column < width)
        there = cells[np.arange(len(cells)), there_row.clip(0, height - 1), there_column.clip(0, width - 1)]
        return ~inside | (there == WALL)

    def offset(reference: np.ndarray) -> list[np.ndarray]:
        return [column - reference[:, 1] + width - 1, row - reference[:, 0] + height - 1]

    columns: list[np.ndarray] = []
    for feature in features:
        if feature == "facing":
            columns += [heading]
        elif feature == "offset_from_start":
            columns += offset(starts)
        elif feature == "offset_from_end":
            columns += offset(ends)
        elif feature == "wall_ahead":
            columns += [wall(heading)]
        elif feature == "position":
            columns += [column, row]
        elif feature == "neighbour_walls":
            columns += [wall(np.full_like(heading, direction)) for direction in range(4)]
        elif feature == "markers":
            columns += [np.minimum(markers, MANY_MARKERS)]
        elif feature == "branch":
            columns += [branch]
        else:
            raise ValueError(f"unknown feature {feature!r}")
    return np.stack(columns, 1).astype(np.uint8)


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
