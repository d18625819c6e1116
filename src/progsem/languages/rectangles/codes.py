"""Programs as small arrays: the four numbers in the order in which they are written, filled up with `PAD`.

A *statement* is a number. Which bound it is depends on its place, and, under other meanings, on those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ACTIONS = ("top", "bottom", "left", "right")  # what the numbers say, in the order in which they are written
TOP, BOTTOM, LEFT, RIGHT = ORIGINAL = tuple(range(len(ACTIONS)))
FIELD = 6  # rows and columns
STATEMENTS = FIELD + 1  # numbers from 0 to FIELD
CLOSE = STATEMENTS
PAD = 255


def most_codes(programs, extra_statements: int = 0) -> int:
    """Codes that a program may take, with room for so many more; `programs` is that section of a config."""
    return programs.longest + extra_statements


def semantics(mapping: dict[str, str]) -> tuple[int, ...]:
    """Which bound each of the four numbers is, under a mapping of names; unnamed ones are what they are."""
    return tuple(ACTIONS.index(mapping.get(name, name)) for name in ACTIONS)


def is_action(programs: np.ndarray) -> np.ndarray:
    """Which codes of programs are numbers: bool, in the same shape."""
    return programs < STATEMENTS


def has_control_flow(programs: np.ndarray) -> np.ndarray:
    """(N,) bool: none of the programs (N, L)."""
    return (programs < 0).any(axis=-1)
