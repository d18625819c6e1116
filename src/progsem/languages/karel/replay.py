"""The whole world after each statement, for showing a few programs: the plain interpreter, no kernel."""

from __future__ import annotations

import numpy as np

from progsem.languages.karel.codes import ACTIONS, MAX_MARKERS, MOVE, ORIGINAL, PAD
from progsem.languages.karel.interpreter import run
from progsem.languages.karel.syntax import actions, decode
from progsem.languages.karel.world import World


def cells_after(
    program: np.ndarray, cells: np.ndarray, pose: np.ndarray, step_limit: int, meanings: tuple[int, ...] = ORIGINAL
) -> np.ndarray:
    """The grid after the first execution of each action, as `kernels.trace` has the robot.

    program: (L,) uint8 codes; cells: (H, W) uint8; pose: (3,) uint8; meanings: 5
    codes, what each action means; step_limit: executed actions and tested
    conditions, at least 1. Returns (L, H, W) uint8, all 0 where the code is no
    action or was never reached. Raises ValueError where the codes are no program.
    """
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
