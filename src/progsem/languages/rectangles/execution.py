"""Programs asked about points, under whatever their four numbers are said to mean.

An input is a list of points and the output says of each whether it is inside. A *program state* is what a probe is
asked about: the points, and the bounds that have been said so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from progsem.languages.rectangles.codes import ACTIONS, BOTTOM, FIELD, LEFT, ORIGINAL, RIGHT, TOP, is_action

NOWHERE = 255  # row and column behind the points of a list that has fewer than the longest
OUTSIDE, INSIDE, NO_SIDE = range(3)
UNSET = FIELD + 1  # of a bound that has not been said


class Points(NamedTuple):
    """Inputs: points (…, P, 2) uint8, row and column each, the list's own first and `NOWHERE` behind them."""

    points: np.ndarray

    def at(self, which) -> Points:
        """Those that are chosen by indices of the leading axes."""
        return Points(self.points[which])

    def columns(self, prefix: str = "") -> dict[str, np.ndarray]:
        """As columns of a table, with a row for each of N; `of_columns` turns them back."""
        return {f"{prefix}points": self.points.reshape(len(self.points), -1)}


class Sides(NamedTuple):
    """Outputs: the points (…, P, 2) and on which side each is, (…, P), both uint8."""

    points: np.ndarray
    sides: np.ndarray

    def at(self, which) -> Sides:
        """Those that are chosen by indices of the leading axes."""
        return Sides(self.points[which], self.sides[which])

    def columns(self, prefix: str = "") -> dict[str, np.ndarray]:
        """As columns of a table, with a row for each of N; `of_columns` turns them back."""
        return {f"{prefix}{name}": array.reshape(len(array), -1) for name, array in self._asdict().items()}


class ProgramStates(NamedTuple):
    """N program states: points (N, P, 2), and top, bottom, left and right so far, (N, 4), `UNSET` where not said."""

    points: np.ndarray
    bounds: np.ndarray


class Run(NamedTuple):
    """What N programs say, each of a list of points.

    actions: (N,), how many numbers each has; executed: (N, K) bool, whether it has a k-th; points (N, P, 2); bounds
    (N, K, 4) uint8, those so far.
    """

    actions: np.ndarray
    executed: np.ndarray
    points: np.ndarray
    bounds: np.ndarray

    def states(self, program: np.ndarray, statement: np.ndarray) -> ProgramStates:
        """The states after statements (M,) of programs (M,)."""
        return ProgramStates(self.points[program], self.bounds[program, statement])


def shape(worlds) -> dict[str, int]:
    """What a table's metadata say of the inputs of a config: rows and columns of the field, most points of a list."""
    return {"height": FIELD, "width": FIELD, **worlds.size}


def of_columns(columns: dict[str, np.ndarray], metadata: dict, prefix: str = "") -> Points | Sides:
    """Inputs or, with a prefix, outputs in a table's columns, (N, K, …): `metadata` has `shape` and as `worlds` K."""
    points = columns[f"{prefix}points"].reshape(-1, metadata["worlds"], metadata["points"], 2)
    if f"{prefix}sides" not in columns:
        return Points(points)
    return Sides(points, columns[f"{prefix}sides"].reshape(points.shape[:-1]))


def start(worlds: Points) -> np.ndarray:
    """Rows and columns of the points in the first input of each row: (N, 2 P) of (N, K)."""
    return worlds.points[:, 0].reshape(len(worlds.points), -1)


def execute(
    programs: np.ndarray, worlds: Points, step_limit: int, meanings: tuple[int, ...] = ORIGINAL
) -> tuple[Sides, np.ndarray]:
    """What programs (N, L) say of inputs (N, K), and whether each is a program, (N, K) bool.

    meanings: which bound each number is; `step_limit` is for languages whose programs may run for ever.
    """
    whole = (is_action(programs).sum(axis=1) == len(ACTIONS)) & is_action(programs)[:, : len(ACTIONS)].all(axis=1)
    within = inside(worlds.points, _bounds(programs, meanings)[:, None, -1])
    sides = np.where(worlds.points[..., 0] == NOWHERE, NO_SIDE, np.where(within, INSIDE, OUTSIDE)).astype(np.uint8)
    return Sides(worlds.points, sides), np.repeat(whole[:, None], sides.shape[1], axis=1)


def trace(programs: np.ndarray, worlds: Points, step_limit: int, meanings: tuple[int, ...] = ORIGINAL) -> Run:
    """What programs (N, L) say so far behind each number, each of an input (N,) of its own; as for `execute`."""
    said = is_action(programs)
    return Run(said.sum(axis=1), said, worlds.points, _bounds(programs, meanings))


def inside(points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(…, P) bool: which points (…, P, 2) are within bounds (…, 4); those that are not said leave nothing out."""
    least = np.where(bounds[..., [TOP, LEFT]] == UNSET, 0, bounds[..., [TOP, LEFT]])
    most = bounds[..., [BOTTOM, RIGHT]]
    return ((least[..., None, :] <= points) & (points <= most[..., None, :]) & (points < FIELD)).all(axis=-1)


def _bounds(programs: np.ndarray, meanings: tuple[int, ...]) -> np.ndarray:
    """(N, L, 4) uint8: the bounds behind each number; behind the last, those that it has said."""
    out = np.full((*programs.shape, len(ACTIONS)), UNSET, np.uint8)
    said = is_action(programs)
    for place in range(min(programs.shape[1], len(ACTIONS))):
        out[said[:, place], place:, meanings[place]] = programs[said[:, place], place, None]
    return out
