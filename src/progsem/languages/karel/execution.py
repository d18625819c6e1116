"""Programs executed on worlds, under whatever their statements are said to mean.

A *world state* is a grid and the robot's pose in it; a *program state* is what a probe is asked about, the world
state after a statement and what led to it. Many of them are held in arrays with common leading axes, as `codes` says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from progsem.languages.karel import kernels
from progsem.languages.karel.codes import ACTIONS, MAX_MARKERS, MOVE, ORIGINAL, PAD, is_action
from progsem.languages.karel.interpreter import run
from progsem.languages.karel.syntax import actions, decode
from progsem.languages.karel.world import World


class WorldStates(NamedTuple):
    """World states: cells (…, H, W) and poses (…, 3), both uint8."""

    cells: np.ndarray
    poses: np.ndarray

    def at(self, which) -> WorldStates:
        """Those that are chosen by indices of the leading axes."""
        return WorldStates(self.cells[which], self.poses[which])

    def columns(self, prefix: str = "") -> dict[str, np.ndarray]:
        """As columns of a table, with a row for each of N; `of_columns` turns them back."""
        return {f"{prefix}{name}": array.reshape(len(array), -1) for name, array in self._asdict().items()}


class ProgramStates(NamedTuple):
    """N program states.

    cells: (N, H, W), the world in which the program ran (walls do not move, so any moment will do). starts, ends,
    poses: (N, 3), the robot at the start, at the end, and in the state asked about. markers, branch: (N,), there, how
    many markers lie on its cell and how the last condition came out (as in `kernels.Trace`). All are uint8.
    """

    cells: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    poses: np.ndarray
    markers: np.ndarray
    branch: np.ndarray


class Run(NamedTuple):
    """What N programs did, each in its world.

    actions: (N,), how many action statements each has; executed: (N, K) bool, whether the k-th of them ever was. The
    others are those of `ProgramStates`, after the first execution of each (for a program that does not halt, its end
    is at the step limit): cells (N, H, W), starts and ends (N, 3), poses (N, K, 3), markers and branch (N, K).
    """

    actions: np.ndarray
    executed: np.ndarray
    cells: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    poses: np.ndarray
    markers: np.ndarray
    branch: np.ndarray

    def states(self, program: np.ndarray, statement: np.ndarray) -> ProgramStates:
        """The states after statements (M,) of programs (M,)."""
        return ProgramStates(
            self.cells[program],
            self.starts[program],
            self.ends[program],
            self.poses[program, statement],
            self.markers[program, statement],
            self.branch[program, statement],
        )


def shape(worlds) -> dict[str, int]:
    """What a table's metadata say of the worlds of a config, so that `of_columns` can read it."""
    return {"height": worlds.height, "width": worlds.width}


def of_columns(columns: dict[str, np.ndarray], metadata: dict, prefix: str = "") -> WorldStates:
    """The world states in a table's columns, (N, K, …): `metadata` has what `shape` says, and as `worlds` K."""
    worlds = metadata["worlds"], metadata["height"], metadata["width"]
    cells, poses = columns[f"{prefix}cells"], columns[f"{prefix}poses"]
    return WorldStates(cells.reshape(-1, *worlds), poses.reshape(-1, worlds[0], 3))


def start(worlds: WorldStates) -> np.ndarray:
    """Row, column and heading of the robot in the first of each row's worlds: (N, 3) of worlds (N, K)."""
    return worlds.poses[:, 0]


def execute(
    programs: np.ndarray, worlds: WorldStates, step_limit: int, meanings: tuple[int, ...] = ORIGINAL
) -> tuple[WorldStates, np.ndarray]:
    """The worlds (N, K) after programs (N, L), and whether each program halted there, (N, K) bool.

    meanings: what each action means; step_limit: executed actions and tested conditions. As `kernels.execute`.
    """
    cells, poses, halted = kernels.execute(programs, *worlds, meanings, step_limit)
    return WorldStates(cells, poses), halted


def trace(programs: np.ndarray, worlds: WorldStates, step_limit: int, meanings: tuple[int, ...] = ORIGINAL) -> Run:
    """What programs (N, L) do, each in a world (N,) of its own; arguments as for `execute`."""
    cells, starts = worlds
    steps = kernels.trace(programs, cells, starts, meanings, step_limit)
    _, ends, _ = kernels.execute(programs, cells[:, None], starts[:, None], meanings, step_limit)
    # A stable sort brings the actions to the front in order: column k is the k-th action.
    order = np.argsort(~is_action(programs), axis=1, kind="stable")
    return Run(
        actions=is_action(programs).sum(1),
        executed=np.take_along_axis(steps.executed, order, 1),
        cells=cells,
        starts=starts,
        ends=ends[:, 0],
        poses=np.take_along_axis(steps.poses, order[:, :, None], 1),
        markers=np.take_along_axis(steps.markers, order, 1),
        branch=np.take_along_axis(steps.tested, order, 1),
    )


def cells_after(
    program: np.ndarray, world: WorldStates, step_limit: int, meanings: tuple[int, ...] = ORIGINAL
) -> np.ndarray:
    """The grid after the first execution of each action, as `kernels.trace` has the robot; for a few programs.

    program: (L,) uint8; world: a single one. Returns (L, H, W) uint8, all 0 where the code is no
    action or was never reached. Raises ValueError where the codes are no program.
    """
    cells, pose = world
    out = np.zeros((len(program), *cells.shape), np.uint8)
    if program[0] == PAD:
        return out
    tree = decode(program)
    # Where they stand in the text tells apart actions of one name; it and the codes are in one order.
    offsets = [action.offset for action in actions(tree)]
    positions = dict(zip(offsets, np.flatnonzero(program <= MOVE), strict=True))
    meaning = {name: ACTIONS[code] for name, code in zip(ACTIONS, meanings, strict=True)}
    now = cells.copy()
    for executed in run(tree, World(cells, *map(int, pose)), step_limit, meaning, MAX_MARKERS).trace:
        now[executed.row, executed.column] = executed.markers  # an action changes no other cell
        position = positions.pop(executed.action.offset, None)
        if position is not None:
            out[position] = now
    return out
