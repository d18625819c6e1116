"""Random programs and worlds, one independent random stream for each program.

Every draw comes from SplitMix64 (Steele, Lea & Flood 2014), a counter-based
generator: the stream of a program is fixed by (seed, split, index, attempt)
alone, so a corpus has the same bytes whatever the order, the number of threads
or the size of the shards.

Distributions (paper, section on data): a cell is a wall with the given
probability, else it holds one marker with the given probability; the robot
stands on a uniform cell, which is cleared, with a uniform heading. The number
of actions in a program is uniform, each action is drawn by weight.

With control flow, a block of n actions is filled from the left: with the given
probability the next statement is one of `if`, `ifelse`, `while`, `repeat`,
uniformly (`ifelse` only where two actions are left), whose bodies take a uniform
share of what is left; conditions are uniform over the five and their negations,
`repeat` counts over 2, 3 and 4.
"""

from __future__ import annotations

import numpy as np

from progsem.jobs.compiled import njit
from progsem.languages.drawn import Drawn
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    ELSE,
    IF,
    IFELSE,
    NOT,
    NUMBER,
    OPEN,
    PAD,
    REPEAT,
    WALL,
    WHILE,
    most_codes,
)
from progsem.languages.karel.execution import WorldStates

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_STACK = 8  # deeper than any allowed nesting


@njit(nogil=True, cache=True, inline="always")
def _mix(value):
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def _below(draw, bound):
    """A 32-bit draw as an integer in [0, bound)."""
    return np.int64(((draw & _LOW) * np.uint64(bound)) >> _HALF)


@njit(nogil=True, cache=True)
def _action(state, cumulative):
    state += _GOLDEN
    draw = _mix(state) >> _HALF
    code = 0
    for bound in cumulative:  # all of them: which one it is cannot be guessed, and a wrong guess costs more
        code += draw >= bound
    return state, np.uint8(code)


@njit(nogil=True, cache=True)
def _condition(state, out, at):
    state += _GOLDEN
    draw = _mix(state)
    if draw >> np.uint64(63):
        out[at] = NOT
        at += 1
    out[at] = 5 + _below(draw, 5)
    return state, at + 1


@njit(nogil=True, cache=True)
def _program(state, low, high, cumulative, control, max_depth, out):
    """Fill `out` with a program; returns the state of the stream."""
    out[:] = PAD
    state += _GOLDEN
    left = low + _below(_mix(state), high - low + 1)
    at = 0
    if control == 0:
        for _ in range(left):
            state, out[at] = _action(state, cumulative)
            at += 1
        return state
    # A frame is an open block: actions left once it is closed, and actions of the else branch to come.
    after = np.zeros(_STACK, np.int64)
    otherwise = np.zeros(_STACK, np.int64)
    depth = 0
    while True:
        while left == 0 and depth > 0:
            out[at] = CLOSE
            at += 1
            if otherwise[depth - 1] > 0:
                out[at] = ELSE
                out[at + 1] = OPEN
                at += 2
                left = otherwise[depth - 1]
                otherwise[depth - 1] = 0
            else:
                depth -= 1
                left = after[depth]
        if left == 0:
            return state
        state += _GOLDEN
        draw = _mix(state)
        if depth == max_depth or (draw >> _HALF) >= control:
            state, out[at] = _action(state, cumulative)
            at += 1
            left -= 1
            continue
        kind = _below(draw, 4)
        if kind == 3 and left < 2:
            kind = 0
        state += _GOLDEN
        draw = _mix(state)
        if kind == 3:
            body = 2 + _below(draw, left - 1)
            state += _GOLDEN
            otherwise[depth] = 1 + _below(_mix(state), body - 1)
        else:
            body = 1 + _below(draw, left)
            otherwise[depth] = 0
        after[depth] = left - body
        left = body - otherwise[depth]
        depth += 1
        out[at] = REPEAT if kind == 2 else (WHILE if kind == 1 else (IFELSE if kind == 3 else IF))
        at += 1
        if kind == 2:
            out[at] = NUMBER + 2 + _below(draw >> _HALF, 3)
            at += 1
        else:
            state, at = _condition(state, out, at)
        out[at] = OPEN
        at += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _worlds(state, wall, marker, width, drawn, cells, poses):
    """Fill cells (K, H * W) and poses (K, 3).

    A world takes a draw for each cell and one for its robot. None waits for the draw before it, so the
    processor computes several at once. drawn: (K * (H * W + 1),) uint8, what each would be in a cell.
    """
    for at in range(drawn.shape[0]):
        draw = _mix(state + _GOLDEN * np.uint64(at + 1))
        marked = np.uint8(1) if (draw & _LOW) < marker else np.uint8(0)
        drawn[at] = np.uint8(WALL) if (draw >> _HALF) < wall else marked
    count, area = cells.shape
    for k in range(count):
        first = k * (area + 1)
        for at in range(area):
            cells[k, at] = drawn[first + at]
        draw = _mix(state + _GOLDEN * np.uint64(first + area + 1))
        place = np.uint64(_below(draw, area))
        cells[k, place] = 0
        poses[k, 0] = place // width
        poses[k, 1] = place % width
        poses[k, 2] = draw >> np.uint64(62)


@njit(nogil=True, cache=True)
def _key(values, first):
    """64 bits that stand for values (M,) uint8 at places first, first + 1, …; others have them only by chance.

    A sum over the places, each computed for itself: sums of keys are keys as well (Zobrist 1970).
    """
    key = np.uint64(0)
    for at in range(values.shape[0]):
        key += _mix(_GOLDEN * np.uint64((first + at) * 256 + values[at] + 1))
    return key


@njit(nogil=True, cache=True)
def _put_keys(rows, shown, out):
    """Compute keys and program_keys of these rows from what stands in them."""
    programs, cells, poses, keys, program_keys = out
    codes, area = programs.shape[1], cells.shape[2]
    for row in rows:
        program_keys[row] = _key(programs[row], 0)
        keys[row] = program_keys[row]
        keys[row] += _key(cells[row, :shown].reshape(-1), codes)
        keys[row] += _key(poses[row, :shown].reshape(-1), codes + shown * area)


@njit(nogil=True, cache=True)
def _sample(seed, first, attempts, rows, low, high, cumulative, control, max_depth, wall, marker, width, shown, out):
    programs, cells, poses, _, _ = out
    worlds, area = cells.shape[1:]
    drawn = np.empty(worlds * (area + 1), np.uint8)
    for row in rows:
        state = _mix(seed + _GOLDEN * np.uint64(first + row))
        state = _mix(state + _GOLDEN * np.uint64(attempts[row]))
        state = _program(state, low, high, cumulative, control, max_depth, programs[row])
        _worlds(state, wall, marker, width, drawn, cells[row], poses[row])
    _put_keys(rows, shown, out)


def _threshold(probability: float) -> np.uint64:
    """A probability as a bound on 32-bit draws (off by less than 2⁻³²)."""
    return np.uint64(round(probability * 2**32))


class Sampler:
    """Draws programs and their input worlds, as sections of a config describe them.

    split: its number in `SPLITS`; other numbers have streams of their own. length: fewest and most actions.
    """

    def __init__(self, worlds, programs, corpus, split: int, length: tuple[int, int]):
        weights = programs.weights.model_dump()
        cumulative = np.cumsum([float(weights[action]) for action in ACTIONS])
        self._cumulative = np.round(cumulative / cumulative[-1] * 2**32).astype(np.uint64)
        # One stream family for each (seed, split), far apart.
        mask = 2**64 - 1
        self._seed = np.uint64((corpus.seed * 0xD1342543DE82EF95 + (split + 1) * 0xA0761D6478BD642F) & mask)
        self._length = length
        self._control = _threshold(programs.control_flow)
        self._max_depth = programs.max_depth
        self._wall = _threshold(worlds.wall_probability)
        self._marker = _threshold(worlds.marker_probability)
        self._shape = (corpus.examples + corpus.held_out, worlds.height, worlds.width)
        self._shown = corpus.examples
        self._codes = most_codes(programs)

    def allocate(self, count: int) -> Drawn:
        """Room for so many."""
        worlds, height, width = self._shape
        return Drawn(
            np.empty((count, self._codes), np.uint8),
            WorldStates(
                np.empty((count, worlds, height, width), np.uint8),
                np.empty((count, worlds, 3), np.uint8),
            ),
            np.empty(count, np.uint64),
            np.empty(count, np.uint64),
        )

    def draw(self, first: int, attempts: np.ndarray, rows: np.ndarray, out: Drawn) -> None:
        """Draw the given rows of a shard whose row 0 is program `first` of the split.

        attempts: (N,) int64, how often each row was drawn before; rows: (M,) int64; `out` comes from `allocate`.
        """
        low, high = self._length
        _sample(
            self._seed,
            first,
            attempts,
            rows,
            low,
            high,
            self._cumulative,
            self._control,
            self._max_depth,
            self._wall,
            self._marker,
            np.uint64(self._shape[2]),
            self._shown,
            _flat(out),
        )

    def put_keys(self, rows: np.ndarray, out: Drawn) -> None:
        """Give the rows the keys of what stands in them, where that has been changed."""
        _put_keys(rows, self._shown, _flat(out))


def _flat(drawn: Drawn) -> tuple[np.ndarray, ...]:
    """The arrays of what is drawn, cells as (N, K, H * W)."""
    cells, poses = drawn.worlds
    return drawn.programs, cells.reshape(*cells.shape[:2], -1), poses, drawn.keys, drawn.program_keys
