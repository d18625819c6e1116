"""Karel executed fast: many programs on many worlds, as compiled loops over codes.

The semantics is the one that `interpreter.py` defines; tests compare the two. But a
cell holds at most `MAX_MARKERS` markers: where a program would put one more, its run
ends, and has not halted.
A program is executed straight from its code sequence. Where it has control flow,
one scan before its first world finds, for every code that may jump, where to.

Kernels release the GIL: threads may work on slices of the same arrays.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from progsem.jobs.compiled import njit
from progsem.languages.karel.codes import (
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

    Returns the program's length, or -1 if it is malformed.

    jump[p], for p an IF, IFELSE or WHILE: where to go if the condition does not
    hold; for a REPEAT: the code behind it; for a CLOSE: where to go from there,
    which for `while` and `repeat` is the head of the loop.
    """
    length = codes.shape[0]
    for at in range(length):
        if codes[at] == PAD:
            length = at
            break
    depth = 0
    at = 0
    while at < length:
        code = codes[at]
        if code <= MOVE:
            at += 1
        elif code == CLOSE:
            if depth == 0 or codes[at - 1] == OPEN:
                return -1
            depth -= 1
            head = open_blocks[depth]
            if codes[head] == IFELSE:
                # Head of the else branch is its ELSE; behind that and OPEN the condition leads if it does not hold.
                if at + 2 >= length or codes[at + 1] != ELSE or codes[at + 2] != OPEN:
                    return -1
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
                    return -1
            elif code == IF or code == IFELSE or code == WHILE:
                if at < length and codes[at] == NOT:
                    at += 1
                if at >= length or not FRONT <= codes[at] <= NO_MARKERS:
                    return -1
            else:
                return -1
            if at + 1 >= length or codes[at + 1] != OPEN:
                return -1
            open_blocks[depth] = head
            depth += 1
            at += 2
    return length if depth == 0 else -1


@cache
def _ahead(height: int, width: int) -> np.ndarray:
    """The cell a step ahead of each, for each heading: (4, H * W) uint16; at the border, the cell itself."""
    row, column = np.divmod(np.arange(height * width), width)
    rows = np.clip(row + [[-1], [0], [1], [0]], 0, height - 1)
    columns = np.clip(column + [[0], [1], [0], [-1]], 0, width - 1)
    return (rows * width + columns).astype(np.uint16)


# In what follows, `cells` (H * W,) is a world, and `place` a cell's number in it. Both are unsigned: of an index with
# a sign, compiled code asks each time whether it counts from the end.


@njit(nogil=True, cache=True, inline="always")
def _moved(ahead, cells, place, heading):
    """Where a robot is after a step ahead: where it was, if that is a wall."""
    to = ahead[heading, place]
    return place if cells[to] == WALL else to


@njit(nogil=True, cache=True, inline="always")
def _turned(heading, quarters):
    """A heading after so many quarter turns clockwise."""
    return (heading + np.uint8(quarters)) & np.uint8(3)


@njit(nogil=True, cache=True, inline="always")
def _act(action, ahead, cells, place, heading):
    """Place and heading of the robot after what an action means; its world's cells are changed in place.

    A cell that is full stays so, see `_overflows`.
    """
    if action == MOVE:
        place = _moved(ahead, cells, place, heading)
    elif action == LEFT:
        heading = _turned(heading, 3)
    elif action == RIGHT:
        heading = _turned(heading, 1)
    elif action == PUT:
        cells[place] += cells[place] < MAX_MARKERS
    else:
        cells[place] -= cells[place] > 0
    return place, heading


@njit(nogil=True, cache=True, inline="always")
def _overflows(action, cells, place):
    """Whether an action would put a marker into a cell that is full."""
    return action == PUT and cells[place] == MAX_MARKERS


@njit(nogil=True, cache=True, inline="always")
def _holds(condition, ahead, cells, place, heading):
    """Whether a condition holds."""
    if condition == MARKERS:
        return cells[place] > 0
    if condition == NO_MARKERS:
        return cells[place] == 0
    quarters = 3 if condition == LEFT_CLEAR else 1 if condition == RIGHT_CLEAR else 0
    return _moved(ahead, cells, place, _turned(heading, quarters)) != place


@njit(nogil=True, cache=True, error_model="numpy")
def _run(codes, length, jump, rounds, since, width, ahead, cells, pose, meanings, step_limit, trace):
    """Run a linked program on one world, its cells and pose (3,), in place; returns whether it halted.

    trace: the arrays of a `Trace` for one program; with length 0 where none is wanted.
    """
    trace_poses, markers, tested, executed = trace
    tracing = executed.shape[0] > 0
    place, heading = np.uint16(pose[0] * width + pose[1]), pose[2]
    outcome = UNTESTED
    steps = 0
    at = 0
    while at < length and steps < step_limit:
        code = codes[at]
        if code <= MOVE:
            if _overflows(meanings[code], cells, place):
                steps = step_limit
                break
            place, heading = _act(meanings[code], ahead, cells, place, heading)
            if tracing and not executed[at]:
                executed[at] = True
                trace_poses[at, 0], trace_poses[at, 1], trace_poses[at, 2] = place // width, place % width, heading
                markers[at] = cells[place]
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
            if _holds(codes[at], ahead, cells, place, heading) != negated:
                outcome = HELD
                at += 2
            else:
                outcome = FAILED
                at = jump[head]
            steps += 1
    pose[0], pose[1], pose[2] = place // width, place % width, heading
    return steps < step_limit


@njit(nogil=True, cache=True, inline="always")
def _stands(height, width, cells, row, column, heading):
    """Whether a robot is on a free cell with one of the four headings."""
    return row < height and column < width and heading < 4 and cells[row * width + column] <= MAX_MARKERS


@njit(nogil=True, cache=True, error_model="numpy")
def _execute(programs, height, width, ahead, cells, poses, meanings, step_limit, halted):
    """Run every program on its worlds, cells (N, K, H * W), in place; returns what is wrong, and where."""
    jump, rounds, since, open_blocks = np.zeros((4, programs.shape[1]), np.int64)
    none = np.zeros(0, np.uint8)
    untraced = np.zeros((0, 3), np.uint8), none, none, np.zeros(0, np.bool_)
    count, worlds = poses.shape[:2]
    for i in range(count):
        codes = programs[i]
        length = _link(codes, jump, open_blocks)
        if length < 0:
            return _BAD_PROGRAM, i
        for k in range(worlds):
            world, pose = cells[i, k], poses[i, k]
            if not _stands(height, width, world, pose[0], pose[1], pose[2]):
                return _BAD_POSE, i
            halted[i, k] = _run(
                codes, length, jump, rounds, since, width, ahead, world, pose, meanings, step_limit, untraced
            )
    return _FINE, 0


@njit(nogil=True, cache=True, error_model="numpy")
def _trace(programs, height, width, ahead, cells, poses, meanings, step_limit, trace):
    """Fill the `Trace` of every program on its one world, cells (N, H * W); returns the same as `_execute`."""
    jump, rounds, since, open_blocks = np.zeros((4, programs.shape[1]), np.int64)
    world = np.empty(cells.shape[1], np.uint8)
    pose = np.empty(3, np.uint8)
    trace_poses, markers, tested, executed = trace
    for i in range(programs.shape[0]):
        world[:], pose[:] = cells[i], poses[i]
        if not _stands(height, width, world, pose[0], pose[1], pose[2]):
            return _BAD_POSE, i
        codes = programs[i]
        length = _link(codes, jump, open_blocks)
        if length < 0:
            return _BAD_PROGRAM, i
        one = trace_poses[i], markers[i], tested[i], executed[i]
        _run(codes, length, jump, rounds, since, width, ahead, world, pose, meanings, step_limit, one)
    return _FINE, 0


def _grid(height: int, width: int) -> tuple[np.uint64, np.uint64, np.ndarray]:
    """What the kernels want to know about the shape of worlds."""
    return np.uint64(height), np.uint64(width), _ahead(height, width)


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
    (N, K) bool: False where the limit was reached, or a cell would have held more
    than `MAX_MARKERS` markers, the world being as it was then.
    The arguments are not modified. Raises ValueError where a shape, a dtype, a
    program or a pose is wrong. An all-`PAD` program does nothing and halts.
    """
    programs, cells, poses, meanings = _check(programs, cells, poses, meanings, step_limit, ("N", "K"))
    out_cells, out_poses = cells.copy(), poses.copy()
    halted = np.empty(poses.shape[:2], np.bool_)
    flat = out_cells.reshape(*cells.shape[:2], cells.shape[2] * cells.shape[3])  # of no program, too
    _raise(*_execute(programs, *_grid(*cells.shape[2:]), flat, out_poses, meanings, step_limit, halted))
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
    flat = cells.reshape(len(cells), cells.shape[1] * cells.shape[2])
    _raise(*_trace(programs, *_grid(*cells.shape[1:]), flat, poses, meanings, step_limit, out))
    return out
