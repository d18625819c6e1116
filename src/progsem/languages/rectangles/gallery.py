"""What the gallery and the trace viewer show of a program: the bounds so far as they are, and as a probe reads them.

All is made of what JSON has, and `drawing` draws it. A rectangle has `top`, `bottom`, `left`, `right`, null where not
said, and what is asked of the points: `first_point`, `points_inside`.
"""

from __future__ import annotations

import numpy as np

from progsem.languages.rectangles import features
from progsem.languages.rectangles.codes import ACTIONS, FIELD, ORIGINAL, is_action
from progsem.languages.rectangles.execution import NOWHERE, UNSET, Points, execute, inside, trace

NOTHING, OUTSIDE, INSIDE = range(3)  # what lies in a cell: no point, or one on that side


def example(world: Points, reference: np.ndarray, step_limit: int) -> dict:
    """A list of points as its reference program (L,) has them, and that program's rectangle."""
    outputs, _ = execute(reference[None], world.at(np.s_[None, None]), step_limit)
    states = trace(reference[None], world.at(None), step_limit).states(np.zeros(2, int), np.array([0, -1]))
    unset = states._replace(bounds=np.full_like(states.bounds, UNSET))
    cells = cells_of(outputs.points[0, 0], outputs.sides[0, 0])
    return {
        "cells": cells,
        "start": _rectangle(unset, 0),
        "wanted": {"cells": cells, "state": _rectangle(states, 1)},
    }


def statements(program: np.ndarray, world: Points, step_limit: int, meanings: tuple[int, ...] = ORIGINAL) -> list[dict]:
    """Every number of a program (L,), with the points that are within the bounds so far."""
    run = trace(program[None], world.at(None), step_limit, meanings)
    numbers = np.arange(is_action(program).sum())
    states = run.states(np.zeros_like(numbers), numbers)
    within = inside(states.points, states.bounds)
    return [
        {
            "text": str(program[number]),
            "executed": True,
            "cells": cells_of(world.points, within[number]),
            "true": _rectangle(states, number),
        }
        for number in numbers
    ]


def reading(answers: dict[str, np.ndarray], world: Points) -> dict:
    """The rectangle that a probe's answers (heads,) by feature mean; None where it was not asked."""
    bounds = answers.get("bounds", np.full(len(ACTIONS), UNSET))
    return _named(bounds) | {
        "asked": "bounds" in answers,
        "first_point": bool(answers["first_point"][0]) if "first_point" in answers else None,
        "points_inside": int(answers["points_inside"][0]) if "points_inside" in answers else None,
    }


def judgement(true: dict | None, read: dict) -> dict:
    """What is read right; None where it is not read."""
    return {
        "bounds_right": all(read[name] == true[name] for name in ACTIONS) if true and read["asked"] else None,
        "first_point_right": None if read["first_point"] is None else read["first_point"] == true["first_point"],
        "points_inside_right": None
        if read["points_inside"] is None
        else read["points_inside"] == true["points_inside"],
    }


def _rectangle(states, index: int) -> dict:
    labels = features.labels(("first_point", "points_inside"), states)[index]
    return _named(states.bounds[index]) | {
        "asked": True,
        "first_point": bool(labels[0]),
        "points_inside": int(labels[1]),
    }


def _named(bounds: np.ndarray) -> dict:
    return {name: None if bound == UNSET else int(bound) for name, bound in zip(ACTIONS, bounds, strict=True)}


def cells_of(points: np.ndarray, within: np.ndarray) -> list[list[int]]:
    """What lies in each cell, for points (P, 2) that are within or not, (P,)."""
    cells = np.full((FIELD, FIELD), NOTHING)
    there = points[:, 0] != NOWHERE
    rows, columns = points[there].T
    cells[rows, columns] = np.where(within[there].astype(bool), INSIDE, OUTSIDE)
    return cells.tolist()
