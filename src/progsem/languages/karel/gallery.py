"""What the gallery and the trace viewer show of a run: the robot as it is, and as a probe reads it.

All is made of what JSON has, and `drawing` draws it.
"""

from __future__ import annotations

import numpy as np

from progsem.languages.karel import features
from progsem.languages.karel.codes import ACTIONS, ORIGINAL, is_action
from progsem.languages.karel.execution import WorldStates, cells_after, execute, trace


def example(world: WorldStates, reference: np.ndarray, step_limit: int) -> dict:
    """One world, and the output that a reference program (L,) makes of it."""
    wanted, _ = execute(reference[None], world.at(np.s_[None, None]), step_limit)
    cells, pose = wanted.at((0, 0))
    return {
        "cells": world.cells.tolist(),
        "start": _robot(world.poses),
        "wanted": {"cells": cells.tolist(), "state": _robot(pose)},
    }


def statements(
    program: np.ndarray, world: WorldStates, step_limit: int, meanings: tuple[int, ...] = ORIGINAL
) -> list[dict]:
    """Every statement of a program (L,), with the world right after its first execution; None if never reached."""
    run = trace(program[None], world.at(None), step_limit, meanings)
    after = cells_after(program, world, step_limit, meanings)
    positions = np.flatnonzero(is_action(program))
    numbers = np.arange(len(positions))
    states = run.states(np.zeros_like(numbers), numbers)
    walls = features.labels(("wall_ahead",), states)[:, 0]
    shown = []
    for number, position in enumerate(positions):
        executed = bool(run.executed[0, number])
        true = _robot(states.poses[number]) | {
            "markers": int(states.markers[number]),
            "wall_ahead": bool(walls[number]),
        }
        shown.append(
            {
                "text": f"{ACTIONS[program[position]]}()",
                "executed": executed,
                "cells": after[position].tolist() if executed else None,
                "true": true if executed else None,
            }
        )
    return shown


def reading(answers: dict[str, np.ndarray], world: WorldStates) -> dict:
    """The robot that a probe's answers (heads,) by feature mean, for one that started in `world`; None where not asked.

    The position may lie outside the grid: nothing keeps a probe inside it.
    """
    read = {"row": None, "column": None, "heading": None, "wall_ahead": None}
    if "facing" in answers:
        read["heading"] = int(answers["facing"][0])
    if "offset_from_start" in answers:
        read["row"], read["column"] = position_from_offset(answers["offset_from_start"], world)
    if "wall_ahead" in answers:
        read["wall_ahead"] = bool(answers["wall_ahead"][0])
    return read


def position_from_offset(answer: np.ndarray, world: WorldStates) -> tuple[int, int]:
    """Row and column that an answer (dx, dy) to `offset_from_start` means for a robot that started in `world`."""
    height, width = world.cells.shape
    return int(world.poses[0]) + int(answer[1]) - (height - 1), int(world.poses[1]) + int(answer[0]) - (width - 1)


def judgement(true: dict | None, read: dict) -> dict:
    """Whether heading and place are read right; None where they are not read."""
    place = read["row"], read["column"]
    return {
        "facing_right": None if read["heading"] is None else read["heading"] == true["heading"],
        "position_right": None if place[0] is None else place == (true["row"], true["column"]),
    }


def _robot(pose: np.ndarray) -> dict:
    return dict(zip(("row", "column", "heading"), map(int, pose), strict=True))
