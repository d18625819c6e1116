"""Programs and worlds as small arrays: the codes that every fast path shares.

A program is a sequence of uint8 codes, its tokens in source order without the
redundant punctuation, filled up with `PAD`:

    action                      the code of the action
    if (c) {…}                  IF, condition, OPEN, …, CLOSE
    ifelse (c) {…} else {…}     IFELSE, condition, OPEN, …, CLOSE, ELSE, OPEN, …, CLOSE
    while (c) {…}               WHILE, condition, OPEN, …, CLOSE
    repeat (n) {…}              REPEAT, NUMBER + n, OPEN, …, CLOSE

where a condition is `[NOT], code`. A world is a grid without its border: uint8
cells of shape (H, W), the number of markers (0 to `MAX_MARKERS`) or `WALL`, and a pose
(row, column, heading) as uint8, headings clockwise from north.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ACTIONS = ("pick_marker", "put_marker", "turn_left", "turn_right", "move")
PICK, PUT, LEFT, RIGHT, MOVE = range(5)
STATEMENTS = len(ACTIONS)  # how many codes are statements, the first ones
CONDITIONS = ("front_is_clear", "left_is_clear", "right_is_clear", "markers_present", "no_markers_present")
FRONT, LEFT_CLEAR, RIGHT_CLEAR, MARKERS, NO_MARKERS = range(5, 10)
NOT, IF, IFELSE, ELSE, WHILE, REPEAT, OPEN, CLOSE, NUMBER = range(10, 19)
KEYWORDS = {NOT: "not", IF: "if", IFELSE: "ifelse", ELSE: "else", WHILE: "while", REPEAT: "repeat"}
MAX_REPEAT = 19  # the largest count that `repeat` takes
CODES = NUMBER + MAX_REPEAT + 1  # how many codes there are
PAD = 255

WALL = 255
MAX_MARKERS = WALL - 1  # that a cell of an array can hold: a run that puts one more ends there, and has not halted
MAX_DIGIT = 9  # what a drawing or a text, with one glyph a cell, can show of a number of markers
HEADINGS = "NESW"
GLYPHS = "^>v<"

UNTESTED, FAILED, HELD = range(3)  # the outcome of the condition tested last, `not` applied: none tested so far, …

ORIGINAL = (PICK, PUT, LEFT, RIGHT, MOVE)  # each statement means itself


def program_width(longest: int, control_flow: float, max_depth: int) -> int:
    """Codes that the longest possible program takes: `if (not c) {…}` costs five around one action."""
    return longest * (1 + 5 * max_depth) if control_flow > 0 else longest


def most_codes(programs, extra_statements: int = 0) -> int:
    """Codes that a program may take which has so many statements more than the longest of a config's `programs`."""
    longest = max(programs.train_length[1], programs.test_length[1])
    return program_width(longest + extra_statements, programs.control_flow, programs.max_depth)


def semantics(mapping: dict[str, str]) -> tuple[int, ...]:
    """The meaning of each action code under a mapping of names; unnamed ones keep theirs."""
    return tuple(ACTIONS.index(mapping.get(name, name)) for name in ACTIONS)


def is_action(programs: np.ndarray) -> np.ndarray:
    """Which codes of programs are statements without control flow: bool, in the same shape."""
    return programs < len(ACTIONS)


def has_control_flow(programs: np.ndarray) -> np.ndarray:
    """(N,) bool: which programs (N, L) have other codes than those of actions."""
    return ~(is_action(programs) | (programs == PAD)).all(axis=-1)
