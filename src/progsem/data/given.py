"""Programs that a file gives in place of drawn ones (`corpus.programs`).

A line of the file is a program in one of the language's syntaxes (`LANGUAGE.reading`); blank lines and lines that
begin with # are skipped. A program is text as it stands, or JSON: text, a list of tokens, or an object with `program`,
which is one of these, and, where its worlds are not to be drawn, `worlds`. What the study cannot have is left out, by
line and with a reason: other syntax, too many statements, other worlds, a program that does not halt.

For the test split alone, every line is a specification; training and validation are drawn as ever. For all splits,
lines are shared out by program, so that no two splits have a program in common. The order of lines follows from
`corpus.seed`, and training goes through its own again and again, with worlds that are drawn anew unless they are given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progsem.errors import UserError
from progsem.languages import LANGUAGE
from progsem.languages.drawn import Drawn
from progsem.storage.files import file_digest
from progsem.storage.json_lines import member, value_of
from progsem.study.vocabulary import SPLITS

_TRIES = 100  # draws of a program's worlds, of which it has to halt on one
_SHOWN = 3  # lines with a reason that are named
_JSON = ("{", "[", '"')


@dataclass(frozen=True)
class Given:
    """The programs of a file.

    lines: (N,) where each stands, counted from 1; programs: (N, L) uint8; worlds: (M, K), those that are given; world:
    (N,) int64, a program's among them, -1 where its worlds are drawn; left_out: reasons by line.
    """

    lines: np.ndarray
    programs: np.ndarray
    worlds: tuple
    world: np.ndarray
    left_out: dict[int, str]

    def without(self, reasons: dict[int, str]) -> Given:
        """The others than some rows, with the reason for each."""
        kept = np.setdiff1d(np.arange(len(self.lines)), list(reasons))
        more = {int(self.lines[row]): reason for row, reason in reasons.items()}
        left_out = dict(sorted((self.left_out | more).items()))
        return Given(self.lines[kept], self.programs[kept], self.worlds, self.world[kept], left_out)

    @property
    def remark(self) -> str:
        """How many lines are left out, and why the first of them; empty for none."""
        if not self.left_out:
            return ""
        some = [f"line {line}: {reason}" for line, reason in list(self.left_out.items())[:_SHOWN]]
        more = len(self.left_out) - len(some)
        count = f"{len(self.left_out)} of {len(self.left_out) + len(self.lines)} programs"
        return f"{count} cannot be had: {'; '.join(some)}" + (f"; and {more} more" if more else "")


class GivenSampler:
    """In place of a language's sampler: draws the worlds as that one does, unless they are given, and no programs.

    Row i of the split is program `order[i]` of those given, and behind the last comes the first again.
    """

    def __init__(self, drawing, given: Given, order: np.ndarray):
        self._drawing, self._given, self._order = drawing, given, order

    def allocate(self, count: int) -> Drawn:
        """Room for so many."""
        return self._drawing.allocate(count)

    def draw(self, first: int, attempts: np.ndarray, rows: np.ndarray, out: Drawn) -> None:
        """Fill the given rows of a shard; arguments as a language's sampler has them."""
        self._drawing.draw(first, attempts, rows, out)
        which = self._order[(first + rows) % len(self._order)]
        out.programs[rows] = self._given.programs[which]
        world = self._given.world[which]
        for array, part in zip(out.worlds, self._given.worlds, strict=True):
            array[rows[world >= 0]] = part[world[world >= 0]]
        self._drawing.put_keys(rows, out)


def samplers(job, drawing: dict) -> tuple[dict, Given]:
    """The samplers of the splits that programs are given for, and the programs.

    drawing: the language's sampler of every split. `job.slice` has `file` and, as `given`, its SHA-256. Raises
    `UserError` where lines cannot be used and are not to be left out, or are too few.
    """
    file, corpus = job.slice["file"], job.section("corpus")
    if file_digest(Path(file)) != job.slice["given"]:
        raise UserError(f"corpus.programs: {file} has changed since this job was planned; run snakemake again")
    given = read(job, drawing["test"])
    if given.left_out and corpus.unusable == "refuse":
        raise UserError(
            f"corpus.programs: {file}: {given.remark}; mend them, or set corpus.unusable to leave_out to go without"
        )
    orders = _orders(given, corpus, file)
    return {split: GivenSampler(drawing[split], given, order) for split, order in orders.items()}, given


def read(job, drawing) -> Given:
    """The programs of the file in `job.slice` that the study can have. drawing: a sampler of worlds."""
    worlds, programs, corpus = job.section("worlds"), job.section("programs"), job.section("corpus")
    count = corpus.examples + corpus.held_out
    entries, left_out = [], {}
    for number, line in _lines(Path(job.slice["file"])):
        try:
            said, own = _entry(line)
            program = np.array(LANGUAGE.reading.program(said, programs), np.uint8)
            _refuse_length(program, programs, corpus.programs_for)
            entries.append((number, program, None if own is None else LANGUAGE.reading.worlds(own, worlds, count)))
        except UserError as error:
            left_out[number] = str(error)
    return _with_runs(_together(entries, left_out, drawing), drawing, programs.step_limit)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are to be programs, with their numbers."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if line and not line.startswith(b"#"):
                yield number, line


def _entry(line: bytes) -> tuple[str | list, list | None]:
    """A line's program, text or a list of tokens, and its worlds; None where they are drawn."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start + 1} is not UTF-8; expected text") from None
    if not text.startswith(_JSON):
        return text, None
    value = value_of(text)
    if not isinstance(value, dict):
        return value, None
    worlds = member(value, "", "worlds", list) if "worlds" in value else None
    return member(value, "", "program", str, list), worlds


def _refuse_length(program: np.ndarray, programs, programs_for: str) -> None:
    """Raise `UserError` for a program (L,) that is longer or shorter than the study's."""
    statements = int(LANGUAGE.codes.is_action(program).sum())
    (low, high), key = programs.test_length, "programs.test_length"
    if programs_for == "all":
        key = "programs.train_length and programs.test_length"
    if statements > high:
        raise UserError(f"takes {statements} statements, the study has up to {high}; raise {key}")
    if statements < low:
        raise UserError(f"takes {statements} of at least {low} statements that the study has; lower {key}")


def _together(entries: list[tuple], left_out: dict[int, str], drawing) -> Given:
    """Lines with their programs (L,) and worlds (K,) or None, as arrays."""
    programs = drawing.allocate(len(entries)).programs
    programs.fill(LANGUAGE.codes.PAD)
    for row, (_, program, _) in enumerate(entries):
        programs[row, : len(program)] = program
    has = [row for row, (_, _, own) in enumerate(entries) if own is not None]
    worlds, world = drawing.allocate(len(has)).worlds, np.full(len(entries), -1)
    for index, row in enumerate(has):
        world[row] = index
        for array, part in zip(worlds, entries[row][2], strict=True):
            array[index] = part
    return Given(np.array([number for number, _, _ in entries], np.int64), programs, worlds, world, left_out)


def _with_runs(given: Given, drawing, step_limit: int) -> Given:
    """Without programs that do not halt, or that stand with their worlds in an earlier line."""
    count = len(given.lines)
    sampler, out = GivenSampler(drawing, given, np.arange(count)), drawing.allocate(count)
    rows, attempts = np.arange(count), np.zeros(count, np.int64)
    for _ in range(_TRIES if count else 0):
        sampler.draw(0, attempts, rows, out)
        _, halted = LANGUAGE.execution.execute(out.programs[rows], out.worlds.at(rows), step_limit)
        rows = rows[~halted.all(axis=1)]
        attempts[rows] += 1
        if not rows.size:
            break
    within = f" within {step_limit} steps (programs.step_limit)"
    reasons = {
        int(row): "does not halt on "
        + (f"any of {_TRIES} draws of its worlds" if given.world[row] < 0 else "all of its worlds")
        + within
        for row in rows
    }
    seen: dict[int, int] = {}
    for row in np.flatnonzero(given.world >= 0).tolist():
        earlier = seen.setdefault(int(out.keys[row]), row)
        if earlier != row and row not in reasons:
            reasons[row] = f"is the program of line {given.lines[earlier]}, with the same shown worlds"
    return given.without(reasons)


def _orders(given: Given, corpus, file: str) -> dict[str, np.ndarray]:
    """Which programs a split has, one behind the other, for every split that has them from the file.

    By digests of the programs, so that where they stand in the file is no matter.
    """
    texts = [program.tobytes() for program in given.programs]
    place = [_digest(corpus.seed, text) for text in texts]  # the same for all lines of a program
    earlier: Counter = Counter()
    place_of_line = []
    for text in texts:
        place_of_line.append(_digest(corpus.seed, text, earlier[text]))
        earlier[text] += 1

    def mixed(rows) -> np.ndarray:
        return np.array(sorted(rows, key=place_of_line.__getitem__), np.int64)

    if corpus.programs_for == "test":
        if len(texts) < corpus.test:
            raise UserError(
                f"corpus.test is {corpus.test}, but {file} has {len(texts)} programs for this study, each of which "
                "makes one specification; ask for at most as many, or give more programs"
            )
        return {"test": mixed(range(len(texts)))[: corpus.test]}
    order = sorted(range(len(texts)), key=place.__getitem__)
    begins = [at for at, row in enumerate(order) if at == 0 or place[row] != place[order[at - 1]]]

    def behind(at: int) -> int:
        """Where, from there on, the next program begins."""
        return next((begin for begin in begins if begin >= at), len(order))

    validation = behind(corpus.test)
    train = behind(validation + corpus.validation)
    if train == len(order):
        raise UserError(
            f"corpus.test and corpus.validation are {corpus.test} and {corpus.validation}, but {file} has "
            f"{len(order)} programs for this study, {len(begins)} different ones, and training needs one that they do "
            "not have; ask for fewer, or give more programs"
        )
    parts = order[train:], order[validation : validation + corpus.validation], order[: corpus.test]
    return dict(zip(SPLITS, map(mixed, parts), strict=True))


def _digest(seed: int, program: bytes, line: int | None = None) -> bytes:
    return hashlib.sha256(f"{seed} {line} ".encode() + program).digest()
