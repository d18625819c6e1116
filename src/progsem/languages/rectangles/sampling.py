"""Random rectangles and lists of points, one independent random stream for each.

Top and left are uniform over 0 to 4, height and width from 1 to what is left up to 6. How many points a list has is
uniform over what the config says, as is the row and column of each. Every draw comes from SplitMix64 (Steele, Lea &
Flood 2014): a stream is fixed by (seed, split, index, attempt), so a corpus has the same bytes whatever the order and
the size of the shards.
"""

from __future__ import annotations

import numpy as np

from progsem.languages.drawn import Drawn
from progsem.languages.rectangles.codes import ACTIONS, BOTTOM, FIELD, LEFT, PAD, RIGHT, TOP
from progsem.languages.rectangles.execution import NOWHERE, Points

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Sampler:
    """Draws programs and their inputs, as sections of a config describe them.

    split: its number in `SPLITS`; other numbers have streams of their own. length: of programs, which is 4.
    """

    def __init__(self, worlds, programs, corpus, split: int, length: tuple[int, int]):
        self._stream = _mix(np.array([corpus.seed, split], np.uint64) * _GOLDEN + np.uint64(1))
        self._lists, self._shown = corpus.examples + corpus.held_out, corpus.examples
        self._fewest, self._most = worlds.points

    def allocate(self, count: int) -> Drawn:
        """Room for so many."""
        return Drawn(
            np.full((count, len(ACTIONS)), PAD, np.uint8),
            Points(np.empty((count, self._lists, self._most, 2), np.uint8)),
            np.empty(count, np.uint64),
            np.empty(count, np.uint64),
        )

    def draw(self, first: int, attempts: np.ndarray, rows: np.ndarray, out: Drawn) -> None:
        """Draw the given rows of a shard whose row 0 is program `first` of the split.

        attempts: (N,) int64, how often each row was drawn before; rows: (M,) int64; `out` comes from `allocate`.
        """
        seed, split = self._stream
        state = _mix(seed + _GOLDEN * (first + rows).astype(np.uint64))
        state = _mix(state + split + _GOLDEN * attempts[rows].astype(np.uint64))
        of_list = 1 + 2 * self._most  # draws: its length, and row and column of each point
        count = len(ACTIONS) + self._lists * of_list
        draws = _mix(state[:, None] + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64))
        programs = np.empty((len(rows), len(ACTIONS)), np.uint8)
        for low, high, at in ((TOP, BOTTOM, 0), (LEFT, RIGHT, 2)):
            programs[:, low] = _below(draws[:, at], FIELD - 1)
            programs[:, high] = programs[:, low] + 1 + _below(draws[:, at + 1], FIELD - programs[:, low])
        lists = draws[:, len(ACTIONS) :].reshape(len(rows), self._lists, of_list)
        points = _below(lists[..., 1:], FIELD).reshape(len(rows), self._lists, self._most, 2)
        lengths = self._fewest + _below(lists[..., :1], self._most - self._fewest + 1)
        points[np.arange(self._most) >= lengths] = NOWHERE
        out.programs[rows], out.worlds.points[rows] = programs, points
        out.program_keys[rows] = _key(programs, 0)
        shown = points[:, : self._shown].reshape(len(rows), -1)
        out.keys[rows] = out.program_keys[rows] + _key(shown, programs.shape[1])


def _mix(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _below(draws: np.ndarray, bound) -> np.ndarray:
    """Draws as integers in [0, bound), uint8."""
    return ((draws >> np.uint64(32)) * np.asarray(bound, np.uint64) >> np.uint64(32)).astype(np.uint8)


def _key(values: np.ndarray, first: int) -> np.ndarray:
    """64 bits (N,) that stand for values (N, M) uint8 at places first, first + 1, …: a sum over them (Zobrist 1970)."""
    places = (first + np.arange(values.shape[1], dtype=np.uint64)) * np.uint64(256)
    return _mix(_GOLDEN * (places + values + np.uint64(1))).sum(axis=1, dtype=np.uint64)
