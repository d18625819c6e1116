"""Karel executed fast: many programs on many worlds, as compiled loops over codes.

The semantics is the one that `interpreter.py` defines; tests compare the two.
A program is executed straight from its code sequence. Where it has control flow,
one scan before its first world finds, for every code that may jump, where to.

Kernels release the GIL: threads may work on slices of the same arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from progsem.karel.codes import (
    CLOSE,
    ELSE,
    FAILED,
    FRONT,
    HELD,
    IF,
    IFELSE,
    LEFT,
    LEFT_CLEAR,
    MARKERS,
    MAX_MARKERS,
    MAX_REPEAT,
    MOVE,
    NO_MARKERS,
    NOT,
    NUMBER,
    OPEN,
    PAD,
    PUT,
    REPEAT,
    RIGHT,
    RIGHT_CLEAR,
    UNTESTED,
    WALL,
    WHILE,
)

_ROWS = np.array([-1, 0, 1, 0])  # a step ahead, for each heading
_COLUMNS = np.array([0, 1, 0, -1])
_FINE, _BAD_PROGRAM, _BAD_POSE = range(3)


class Trace(NamedTuple):
    """What each action of a program did when it was first executed.

    poses: (N, L, 3) uint8, the robot right after it; markers: (N, L) uint8, on the
    robot's cell; tested: (N, L) uint8, how the condition that was tested last before
    it came out (`UNTESTED`, `FAILED` or `HELD`; `repeat` tests none); executed: (N, L)
    bool, False where the code is no action or was never reached (the other three are
    0 there).
    """

    poses: np.ndarray
    markers: np.ndarray
    tested: np.ndarray
    executed: np.ndarray


@njit(nogil=True, cache=True)
def _link(codes, jump, open_blocks):
    """Find where each code that may jump leads.

    Returns the program's length, or -1 if it is malformed, and whether it has no control flow.

    jump[p], for p an IF, IFELSE or WHILE: where to go if the condition does not
    hold; for a REPEAT: the code behind it; for a CLOSE: where to go from there,
    which for `while` and `repeat` is the head of the loop.
    """
    length = codes.shape[0]
    for at in range(length):
        if codes[at] == PAD:
            length = at
            break
    straight = True
    for at in range(length):
        straight &= codes[at] <= MOVE
    if straight:
        return length, True
    depth = 0
    at = 0
    while at < length:
        code = codes[at]
        if code <= MOVE:
            at += 1
        elif code == CLOSE:
            if depth == 0 or codes[at - 1] == OPEN:
                return -1, False
            depth -= 1
            head = open_blocks[depth]
            if codes[head] == IFELSE:
                # Head of the else branch is its ELSE; behind that and OPEN the condition leads if it does not hold.
                if at + 2 >= length or codes[at + 1] != ELSE or codes[at + 2] != OPEN:
                    return -1, False
                jump[head] = at + 3
                open_blocks[depth] = at + 1
                jump[at + 1] = at  # the CLOSE before ELSE, which must jump behind the else branch
                depth += 1
                at += 3
                continue
            if codes[head] == ELSE:
                jump[jump[head]] = at + 1
                jump[at] = at + 1
            elif codes[head] == IF:
                jump[head] = at + 1
                jump[at] = at + 1
            else:
                jump[head] = at + 1
                jump[at] = head
            at += 1
        else:
            head = at
            at += 1
            if code == REPEAT:
                if at >= length or not NUMBER <= codes[at] <= NUMBER + MAX_REPEAT:
                    return -1, False
            elif code == IF or code == IFELSE or code == WHILE:
                if at < length and codes[at] == NOT:
                    at += 1
                if at >= length or not FRONT <= codes[at] <= NO_MARKERS:
                    return -1, False
            else:
                return -1, False
            if at + 1 >= length or codes[at + 1] != OPEN:
                return -1, False
            open_blocks[depth] = head
            depth += 1
            at += 2
    return (length if depth == 0 else -1), False


@njit(nogil=True, cache=True, inline="always")
def _clear(cells, i, k, row, column):
    """Whether a cell, perhaps one outside the grid, is free."""
    return 0 <= row < cells.shape[2] and 0 <= column < cells.shape[3] and cells[i, k, row, column] != WALL


@njit(nogil=True, cache=True, inline="always")
def _act(action, cells, poses, i, k):
    """Let the robot of world (i, k) do what an action means."""
    row, column, heading = poses[i, k, 0], poses[i, k, 1], poses[i, k, 2]
    if action == MOVE:
        ahead_row, ahead_column = row + _ROWS[heading], column + _COLUMNS[heading]
        if _clear(cells, i, k, ahead_row, ahead_column):
            poses[i, k, 0] = ahead_row
            poses[i, k, 1] = ahead_column
    elif action == LEFT:
        poses[i, k, 2] = (heading + 3) & 3
    elif action == RIGHT:
        poses[i, k, 2] = (heading + 1) & 3
    elif action == PUT:
        if cells[i, k, row, column] < MAX_MARKERS:
            cells[i, k, row, column] += 1
    elif cells[i, k, row, column] > 0:
        cells[i, k, row, column] -= 1


@njit(nogil=True, cache=True)
def _holds(condition, cells, poses, i, k):
    """Whether a condition holds in world (i, k)."""
    row, column, heading = poses[i, k, 0], poses[i, k, 1], poses[i, k, 2]
    if condition == MARKERS:
        return cells[i, k, row, column] > 0
    if condition == NO_MARKERS:
        return cells[i, k, row, column] == 0
    if condition == LEFT_CLEAR:
        heading = (heading + 3) & 3
    elif condition == RIGHT_CLEAR:
        heading = (heading + 1) & 3
    return _clear(cells, i, k, row + _ROWS[heading], column + _COLUMNS[heading])


@njit(nogil=True, cache=True)
def _run(codes, length, jump, rounds, since, cells, poses, i, k, meanings, step_limit, trace):
    """Run a linked program on world (i, k), in place; returns whether it halted.

    trace: the arrays of a `Trace` for one program; with length 0 where none is wanted.
    """
    trace_poses, markers, tested, executed = trace
    tracing = executed.shape[0] > 0
    outcome = UNTESTED
    steps = 0
    at = 0
    while at < length and steps < step_limit:
        code = codes[at]
        if code <= MOVE:
            _act(meanings[code], cells, poses, i, k)
            if tracing and not executed[at]:
                executed[at] = True
                trace_poses[at] = poses[i, k]
                markers[at] = cells[i, k, poses[i, k, 0], poses[i, k, 1]]
                tested[at] = outcome
            steps += 1
            at += 1
        elif code == CLOSE:
            head = jump[at]
            if head < at and codes[head] == REPEAT:
                # A round that took no step changed nothing, nor will those to come.
                rounds[head] -= 1
                if rounds[head] > 0 and steps > since[head]:
                    since[head] = steps
                    at = head + 3
                else:
                    at += 1
            else:
                at = head
        elif code == REPEAT:
            rounds[at] = codes[at + 1] - NUMBER
            since[at] = steps
            at = at + 3 if rounds[at] > 0 else jump[at]
        else:
            head = at
            at += 1
            negated = codes[at] == NOT
            if negated:
                at += 1
            if _holds(codes[at], cells, poses, i, k) != negated:
                outcome = HELD
                at += 2
            else:
                outcome = FAILED
                at = jump[head]
            steps += 1
    return steps < step_limit


@njit(nogil=True, cache=True)
def _stands(cells, poses, i, k):
    """Whether the robot of world (i, k) stands on a free cell with one of the four headings."""
    row, column, heading = poses[i, k, 0], poses[i, k, 1], poses[i, k, 2]
    return row < cells.shape[2] and column < cells.shape[3] and heading < 4 and cells[i, k, row, column] <= MAX_MARKERS


@njit(nogil=True, cache=True)
def _execute(programs, cells, poses, meanings, step_limit, halted):
    """Run every program on its worlds, in place; returns what is wrong, if anything, and in which row."""
    jump, rounds, since, open_blocks = np.zeros((4, programs.shape[1]), np.int64)
    none = np.zeros(0, np.uint8)
    untraced = np.zeros((0, 3), np.uint8), none, none, np.zeros(0, np.bool_)
    count, worlds = poses.shape[:2]
    for i in range(count):
        for k in range(worlds):
            if not _stands(cells, poses, i, k):
                return _BAD_POSE, i
        codes = programs[i]
        length, straight = _link(codes, jump, open_blocks)
        if length < 0:
            return _BAD_PROGRAM, i
        if straight:
            # Statement by statement: for all worlds of a program the processor guesses the same branch.
            for at in range(min(length, step_limit)):
                action = meanings[codes[at]]
                for k in range(worlds):
                    _act(action, cells, poses, i, k)
            halted[i] = length < step_limit
        else:
            for k in range(worlds):
                halted[i, k] = _run(
                    codes, length, jump, rounds, since, cells, poses, i, k, meanings, step_limit, untraced
                )
    return _FINE, 0


@njit(nogil=True, cache=True)
def _trace(programs, cells, poses, meanings, step_limit, trace_poses, markers, tested, executed):
    """Fill the `Trace` of every program on its one world, which is changed; returns the same as `_execute`."""
    jump, rounds, since, open_blocks = np.zeros((4, programs.shape[1]), np.int64)
    for i in range(programs.shape[0]):
        if not _stands(cells, poses, i, 0):
            return _BAD_POSE, i
        codes = programs[i]
        length, _ = _link(codes, jump, open_blocks)
        if length < 0:
            return _BAD_PROGRAM, i
        trace = trace_poses[i], markers[i], tested[i], executed[i]
        _run(codes, length, jump, rounds, since, cells, poses, i, 0, meanings, step_limit, trace)
    return _FINE, 0


def _check(programs, cells, poses, meanings, step_limit, worlds: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """The arguments as contiguous uint8 arrays, or a ValueError that says which one is wrong."""
    names = {"programs": ("N", "L"), "cells": (*worlds, "H", "W"), "poses": (*worlds, "3"), "meanings": ("5",)}
    arrays = (programs, cells, poses, np.asarray(meanings, np.uint8))
    sizes = {"3": 3, "5": 5}
    for (name, shape), array in zip(names.items(), arrays, strict=True):
        expected = f"a uint8 array of shape ({', '.join(shape)})"
        if array.dtype != np.uint8:
            raise ValueError(f"{name}: given dtype {array.dtype}, expected {expected}")
        given = array.shape
        if len(given) != len(shape) or any(
            sizes.setdefault(axis, size) != size for axis, size in zip(shape, given, strict=True)
        ):
            raise ValueError(f"{name}: given shape {given}, expected {expected} with {sizes}")
    if arrays[3].max() > MOVE:
        raise ValueError(f"meanings: given {list(arrays[3])}, expected codes of actions, 0 to {MOVE}")
    if step_limit < 1:
        raise ValueError(f"step_limit: given {step_limit}, expected at least 1")
    return tuple(np.ascontiguousarray(array) for array in arrays)


def _raise(problem: int, row: int) -> None:
    """Turn what a kernel returned into a ValueError, if it is one."""
    if problem == _BAD_PROGRAM:
        raise ValueError(f"programs[{row}]: not a well-formed code sequence; see karel/codes.py")
    if problem == _BAD_POSE:
        raise ValueError(f"poses[{row}]: the robot does not stand on a free cell of the grid with a heading 0 to 3")


def execute(
    programs: np.ndarray, cells: np.ndarray, poses: np.ndarray, meanings, step_limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run N programs, each on K worlds of its own.

    programs: (N, L) uint8 codes; cells: (N, K, H, W) uint8; poses: (N, K, 3) uint8,
    as in `codes`; meanings: 5 codes of actions, what each action means;
    step_limit: executed actions and tested conditions after which a run is ended.

    Returns the worlds after it, cells and poses in the same shapes, and halted
    (N, K) bool: False where the limit was reached, the world being as it was then.
    The arguments are not modified. Raises ValueError where a shape, a dtype, a
    program or a pose is wrong. An all-`PAD` program does nothing and halts.
    """
    programs, cells, poses, meanings = _check(programs, cells, poses, meanings, step_limit, ("N", "K"))
    out_cells, out_poses = cells.copy(), poses.copy()
    halted = np.empty(poses.shape[:2], np.bool_)
    _raise(*_execute(programs, out_cells, out_poses, meanings, step_limit, halted))
    return out_cells, out_poses, halted


def trace(programs: np.ndarray, cells: np.ndarray, poses: np.ndarray, meanings, step_limit: int) -> Trace:
    """Run N programs, each on one world, and keep the state after each action's first execution.

    programs: (N, L) uint8; cells: (N, H, W) uint8; poses: (N, 3) uint8; `meanings`
    and `step_limit` as for `execute`, which also says what is raised. In a program
    without control flow, position l holds the state after statement l.
    """
    programs, cells, poses, meanings = _check(programs, cells, poses, meanings, step_limit, ("N",))
    out = Trace(
        np.zeros((*programs.shape, 3), np.uint8),
        np.zeros(programs.shape, np.uint8),
        np.zeros(programs.shape, np.uint8),
        np.zeros(programs.shape, np.bool_),
    )
    _raise(*_trace(programs, cells[:, None].copy(), poses[:, None].copy(), meanings, step_limit, *out))
    return out
