"""Resamples of programs, drawn once, and totals over them of whatever is counted of each program.

A total of a resample is a sum of rows, one a program, each as often as its program was
drawn; for R resamples of C programs and K counts a product of matrices with R C K
multiplications, but of small whole numbers. `LOOKED_UP` programs are therefore added at
once: how often each of them is drawn, if not more than `OFTEN` times, makes one of 256
codes, and a table has the sum of their rows for each code ("four Russians"; Arlazarov et
al. 1970). In a word of 64 bits 8 counts lie side by side and are added together. Rows of
programs that are drawn more often are added once more for every time that they lack.

Whole numbers are added exactly, so totals depend neither on the order of summation nor
on the machine. Other numbers are rounded to 2**-30 (less finely if they are large), and
then are whole ones. What is larger than `LARGEST` is added digit by digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from progsem.jobs.compiled import njit
from progsem.measures.results import Settings
from progsem.measures.wide import WORDS, add_rows

PROGRAMS, TRAINING_PROGRAMS, SPECIFICATIONS = 0, 5, 6  # numbers of their streams of random numbers
LOOKED_UP = 4  # programs whose draws make a code
OFTEN = 3  # draws of a program that a code can tell
CODES = (OFTEN + 1) ** LOOKED_UP
TABLES = 10  # codes that are looked up in one go
BLOCK = LOOKED_UP * TABLES
LARGEST = 8  # number that is added as it is: the sums of two tables have 8 bits
COUNTS = 8 * WORDS  # that are added side by side: a row of a table
ROOM = 2**16 - 1  # of the 16 bits into which tables are added
SLICE = 5120  # resamples at a time, so that their totals stay in the cache
DIGIT = 2  # bits, so that sums of half a block fit into 8 of them
FRACTION = 30  # bits after the point
DRAWN = 2**21  # random numbers at a time: 16 MB


@dataclass(frozen=True)
class Draws:
    """How often each of C programs is in the data (once) and in R resamples.

    codes: (blocks, 1 + R, TABLES) uint8, the number of draws of four programs each, up to `OFTEN`, two bits a program.
    more: programs that are drawn more often, once for each draw beyond; those of resample r are
    more[first[r] : first[r + 1]], a multiple of `TABLES` many with `blocks * BLOCK`, which is no program.
    """

    programs: int
    codes: np.ndarray
    first: np.ndarray
    more: np.ndarray
    _seen: set[int] = field(default_factory=set)
    _kept: dict[bytes, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, programs: int, resamples: int, rng: np.random.Generator) -> Draws:
        """Resamples that are one multinomial draw of `programs` out of `programs` each, after the data as they are."""
        blocks = -(-programs // BLOCK)
        codes = np.empty((blocks, 1 + resamples, TABLES), np.uint8)
        _encode(np.arange(programs, dtype=np.int32)[None], 0, codes, np.empty(0, np.int64), np.empty(1, np.int64))
        more, first = [], [np.zeros(2, np.int64)]
        at_once = max(1, DRAWN // programs)
        room = np.empty(at_once * (programs + TABLES), np.int64)
        for row in range(0, resamples, at_once):
            drawn = rng.integers(0, programs, size=(min(at_once, resamples - row), programs), dtype=np.int32)
            ends = np.empty(len(drawn), np.int64)
            _encode(drawn, 1 + row, codes, room, ends)
            more.append(room[: ends[-1]].copy())
            first.append(first[-1][-1] + ends)
        return cls(programs, codes, np.concatenate(first), np.concatenate(more))

    def totals(self, sums: np.ndarray) -> np.ndarray:
        """Totals (1 + R, …) of numbers (C, …), in the data and in each resample; int64 of whole numbers, else float64.

        Whole numbers are not negative. The totals of all resamples lie side by side in memory.
        """
        flat = np.moveaxis(sums, 0, -1).reshape(-1, self.programs)  # (K, C)
        totals = self._whole(flat) if flat.dtype.kind in "biu" else self._real(flat)
        return np.moveaxis(totals.reshape(*sums.shape[1:], -1), -1, 0)

    def _real(self, flat: np.ndarray) -> np.ndarray:
        lowest = flat.min(axis=1, keepdims=True)
        widest = (flat - lowest).max(axis=1, keepdims=True) * self.programs
        fraction = np.minimum(FRACTION, 61 - np.ceil(np.log2(np.maximum(widest, 1))))
        whole = np.rint((flat - lowest) * 2.0**fraction).astype(np.int64)
        return self._whole(whole) * 2.0**-fraction + lowest * self.programs

    def _whole(self, flat: np.ndarray) -> np.ndarray:
        large = flat.max(axis=1, initial=0) > LARGEST
        if not large.any():
            return self._small(flat)
        shifts = range(0, int(flat.max()).bit_length(), DIGIT)
        digits = [flat[large] >> shift & (2**DIGIT - 1) for shift in shifts]
        added = self._small(np.concatenate([flat[~large], *digits])).astype(np.int64)
        totals = np.empty((len(flat), added.shape[1]), np.int64)
        small, *digits = np.split(added, np.count_nonzero(~large) + large.sum() * np.arange(len(shifts)))
        totals[~large] = small
        totals[large] = sum(digit << shift for digit, shift in zip(digits, shifts, strict=True))
        return totals

    def _small(self, flat: np.ndarray) -> np.ndarray:
        """Totals (K, 1 + R) int32 of numbers (K, C) up to `LARGEST`.

        Equal rows are added once. Rows that come again in another call, as the labels of fixed programs do
        at every checkpoint, are added twice and then kept.
        """
        rows = np.ascontiguousarray(flat, dtype=np.uint8)
        totals = np.empty((len(rows), self.codes.shape[1]), np.int32)
        alike: dict[bytes, list[int]] = {}
        for index, row in enumerate(rows):
            alike.setdefault(row.tobytes(), []).append(index)
        different = np.array([indices[0] for row, indices in alike.items() if row not in self._kept], np.int64)
        self._add(rows, different, totals)
        for row, (first, *others) in alike.items():
            if row in self._kept:
                totals[first] = self._kept[row]
            elif hash(row) in self._seen:
                self._kept[row] = totals[first].copy()
            self._seen.add(hash(row))
            totals[others] = totals[first]
        return totals

    def _add(self, rows: np.ndarray, different: np.ndarray, totals: np.ndarray) -> None:
        """The totals of the rows `different`, into those rows of `totals`."""
        of_here = np.empty((COUNTS, totals.shape[1]), np.int32)
        side_by_side = _aligned(len(self.codes) * BLOCK + 1, COUNTS // 8).view(np.uint8)
        table, added = _aligned(TABLES * CODES, WORDS), _aligned(SLICE, 2 * WORDS)
        for start in range(0, len(different), COUNTS):
            here = different[start : start + COUNTS]
            side_by_side[: self.programs, : len(here)] = rows[here].T
            side_by_side[: self.programs, len(here) :] = 0
            of_here[:] = 0
            _add_up(self.codes, self.first, self.more, side_by_side, table, added, of_here)
            totals[here] = of_here[: len(here)]


def _aligned(rows: int, words: int) -> np.ndarray:
    """Zeros (rows, words) uint64 that begin with a cache line, so that a row of the table is not read as two."""
    room = np.zeros(rows * words + 8, np.uint64)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + rows * words].reshape(rows, words)


def program_draws(settings: Settings) -> Draws:
    """Resamples of the test programs: one set of draws, so that all results are paired."""
    return drawn(settings, PROGRAMS, settings.test)


def drawn(settings: Settings, stream: int, programs: int) -> Draws:
    """Resamples of so many programs; the same stream and number of programs give the same draws."""
    rng = np.random.default_rng([settings.statistics.seed, stream])
    return Draws.of(programs, settings.statistics.resamples, rng)


@njit(nogil=True, cache=True)
def _encode(drawn, start, codes, more, ends):
    """Codes of resamples start, start + 1, …, from the programs drawn for each: (n, C) int64.

    Writes into `more` which programs are drawn more than `OFTEN` times, and into `ends` (n,) where those of each
    resample end.
    """
    often = np.empty(codes.shape[0] * BLOCK, np.int64)
    count = 0
    for row in range(len(drawn)):
        often[:] = 0
        for program in drawn[row]:
            often[program] += 1
            if often[program] > OFTEN:
                more[count] = program
                count += 1
        while count % TABLES:
            more[count] = codes.shape[0] * BLOCK
            count += 1
        ends[row] = count
        for block in range(codes.shape[0]):
            for table in range(TABLES):
                code = 0
                for place in range(LOOKED_UP):
                    program = block * BLOCK + table * LOOKED_UP + place
                    code |= min(often[program], OFTEN) << 2 * place
                codes[block, start + row, table] = code


@njit(nogil=True, cache=True)
def _add_up(codes, first, more, rows, table, added, totals):
    """Add to `totals` (COUNTS, 1 + R) int32 those of numbers up to `LARGEST`, `rows` (C + 1, COUNTS) uint8.

    C is a multiple of `BLOCK`; rows beyond the last program's are 0. `table` (TABLES * CODES, WORDS), which is 0 for
    the codes 0, and `added` (SLICE, 2 * WORDS) are room for sums. In `added`, every other of 8 counts has 16 bits:
    in the first half those of even number, in the second those of odd number.
    """
    words = rows.view(np.uint64)
    for start in range(0, totals.shape[1], SLICE):
        stop = min(start + SLICE, totals.shape[1])
        added[:] = 0
        filled = 0
        for block in range(len(codes)):
            here = slice(block * BLOCK, (block + 1) * BLOCK)
            largest = _largest_sum(rows[here])
            if largest == 0:
                continue
            if filled + 2 * largest > ROOM:
                _empty(added, totals[:, start:stop])
                filled = 0
            filled += 2 * largest
            _tabulate(words[here], table)
            _look_up(codes[block, start:stop], table, added, largest <= 255)
        _empty(added, totals[:, start:stop])
        for row in range(stop - start):
            filled = 0
            for at in range(first[start + row], first[start + row + 1], TABLES):
                if filled + TABLES * LARGEST > ROOM:
                    _empty(added[row : row + 1], totals[:, start + row : start + row + 1])
                    filled = 0
                filled += TABLES * LARGEST
                half = (more[at], more[at + 1], more[at + 2], more[at + 3], more[at + 4])
                other = (more[at + 5], more[at + 6], more[at + 7], more[at + 8], more[at + 9])
                add_rows(words, (half, other), added, row)
        _empty(added, totals[:, start:stop])


@njit(nogil=True, cache=True)
def _largest_sum(rows):
    """The largest that a count can be in a sum over half a block, if no program is drawn more than `OFTEN` times."""
    largest = 0
    whole = np.zeros(COUNTS, np.uint16)
    for row in range(BLOCK):
        if row == BLOCK // 2:
            whole[:] = 0
        for column in range(COUNTS):
            whole[column] += rows[row, column]
            largest = max(largest, whole[column])
    return OFTEN * largest


@njit(nogil=True, cache=True)
def _tabulate(words, table):
    """Sums of the rows of `LOOKED_UP` programs for every code, for each of `TABLES` tables."""
    for which in range(TABLES):
        size = 1
        for place in range(LOOKED_UP):
            row = words[which * LOOKED_UP + place]
            for code in range(which * CODES + size, which * CODES + size * (OFTEN + 1)):
                for word in range(WORDS):
                    table[code, word] = table[code - size, word] + row[word]
            size *= OFTEN + 1


@njit(nogil=True, cache=True)
def _look_up(codes, table, added, narrow):
    """Add a block's sums for the codes (n, TABLES) of each resample; narrow: those of half a block fit into 8 bits."""
    for row in range(len(codes)):
        code = codes[row]
        one, two = np.int64(code[0]), CODES + np.int64(code[1])
        three, four = 2 * CODES + np.int64(code[2]), 3 * CODES + np.int64(code[3])
        five, six = 4 * CODES + np.int64(code[4]), 5 * CODES + np.int64(code[5])
        seven, eight = 6 * CODES + np.int64(code[6]), 7 * CODES + np.int64(code[7])
        nine, ten = 8 * CODES + np.int64(code[8]), 9 * CODES + np.int64(code[9])
        if narrow:
            add_rows(table, ((one, two, three, four, five), (six, seven, eight, nine, ten)), added, row)
        else:
            add_rows(table, ((one, two), (three, four), (five, six), (seven, eight), (nine, ten)), added, row)


@njit(nogil=True, cache=True)
def _empty(added, totals):
    """Add counts of 16 bits to `totals` (COUNTS, n), and begin anew."""
    for row in range(totals.shape[1]):
        sums = added[row].view(np.uint16)  # (8 * WORDS,): even counts, then odd ones
        for column in range(COUNTS):
            totals[column, row] += sums[column // 2 + column % 2 * (COUNTS // 2)]
    added[: totals.shape[1]] = 0
