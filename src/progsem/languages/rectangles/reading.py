"""Programs and examples as text, as they stand in documents: read from what is given, and written."""

from __future__ import annotations

import re

import numpy as np

from progsem.errors import UserError
from progsem.languages.rectangles.codes import ACTIONS, FIELD
from progsem.languages.rectangles.execution import INSIDE, NO_SIDE, NOWHERE, OUTSIDE, Points, Sides

_PROGRAM = re.compile(r"\[\s*(\d)" + r"\s*,\s*(\d)" * (len(ACTIONS) - 1) + r"\s*\]")
_BEGINNING = re.compile(r"\[?\s*(\d(?:\s*,\s*\d)*)\s*,?\s*")
_POINT = re.compile(r"\s*(\d)(\d)([+-])")


def program(given: str | list, programs) -> list[int]:
    """The codes of a program, such as [1,3,1,4], or of how one begins, as [1,3; `programs` is that section.

    Raises `UserError` for another text, and for numbers that are none of a bound.
    """
    text = given if isinstance(given, str) else str(given)
    numbers = _PROGRAM.fullmatch(text.strip())
    begun = _BEGINNING.fullmatch(text.strip())
    if not numbers and not begun:
        raise UserError(f"given {text[:40]!r}, expected {', '.join(ACTIONS)} in brackets, as [1,3,1,4]")
    codes = [int(number) for number in (numbers.groups() if numbers else re.findall(r"\d", begun[1]))]
    if len(codes) > len(ACTIONS) or max(codes) > FIELD:
        raise UserError(f"given {text[:40]!r}, expected up to {len(ACTIONS)} numbers from 0 to {FIELD}")
    return codes


def example(given: object, name: str, section) -> tuple[Points, Sides]:
    """Input and output of an example, one list each, which is given as the output's text, as 11+33+04-41-.

    `section` is `worlds` of the config. Raises `UserError` for another text.
    """
    most = section.points[1]
    text = given.strip() if isinstance(given, str) else ""
    found = [(int(row), int(column), sign) for row, column, sign in _POINT.findall(text)]
    if not found or _POINT.sub("", text).strip():
        raise UserError(f"{name}: given {given!r:.60}, expected points, each with + inside or - outside, as 11+04-")
    if len(found) > most or max(max(row, column) for row, column, _ in found) >= FIELD:
        raise UserError(
            f"{name}: given {text[:60]!r}, expected up to {most} points (worlds.points), rows and columns 0 to "
            f"{FIELD - 1}"
        )
    points, sides = np.full((most, 2), NOWHERE, np.uint8), np.full(most, NO_SIDE, np.uint8)
    points[: len(found)] = [point[:2] for point in found]
    sides[: len(found)] = [INSIDE if sign == "+" else OUTSIDE for *_, sign in found]
    return Points(points), Sides(points, sides)


def of_pair(pair: list) -> str:
    """What `example` reads, of the text of an input and of an output: the latter, in which the points stand as well."""
    return pair[-1]


def written(world: Points | Sides) -> str:
    """One list as text: that of an output as `example` reads it, that of an input without signs."""
    there = world.points[:, 0] != NOWHERE
    signs = {OUTSIDE: "-", INSIDE: "+"}
    ends = [signs[int(side)] for side in world.sides[there]] if isinstance(world, Sides) else [" "] * there.sum()
    return "".join(f"{row}{column}{end}" for (row, column), end in zip(world.points[there], ends, strict=True)).strip()
