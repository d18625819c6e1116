"""Stage `corpus`: random programs, each executed on random input worlds, as Arrow shards.

Three splits, disjoint in (program, shown inputs): a training program that
repeats a specification of validation or test is drawn again, as is one that
does not halt within the step limit on all of its worlds. Validation and test
hold no specification twice. Where a file gives programs (`corpus.programs`), they
take the place of drawn ones (`progsem.data.given`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore

import numpy as np

from progsem.data import given
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.storage.files import WRITERS, write_table
from progsem.study.vocabulary import SPLITS

_MAX_ATTEMPTS = 1000


class Shard:
    """Rows first … first + count of a split, in memory; `name` begins the line that says what is wrong with it.

    programs: (count, L) uint8; worlds, outputs: (count, K), what they get and what they make of it; keys,
    program_keys: those of the sampler.
    """

    def __init__(self, sampler, first: int, count: int, step_limit: int, name: str = "corpus"):
        self._name = name
        self._sampler = sampler
        self._first = first
        self._step_limit = step_limit
        self._attempts = np.zeros(count, np.int64)
        self._drawn = sampler.allocate(count)
        self.programs, self.worlds, self.keys, self.program_keys = self._drawn
        self.outputs = self.worlds
        self.redraw(np.arange(count))

    def draw_again(self, rows: np.ndarray) -> None:
        """Replace the specifications of these rows by the next of their streams."""
        self._count_attempt(
            rows,
            "no new specification found: this config has too few worlds and programs; "
            "raise worlds, lengths or examples, or ask for fewer",
        )
        self.redraw(rows)

    def redraw(self, rows: np.ndarray) -> None:
        """Draw and execute these rows, as often as it takes until each program halts on all its worlds."""
        while rows.size:
            self._sampler.draw(self._first, self._attempts, rows, self._drawn)
            whole = rows.size == len(self.programs)
            chosen = slice(None) if whole else rows
            outputs, halted = LANGUAGE.execution.execute(
                self.programs[chosen], self.worlds.at(chosen), self._step_limit
            )
            if whole:
                self.outputs = outputs
            else:
                for array, part in zip(self.outputs, outputs, strict=True):
                    array[rows] = part
            rows = rows[~halted.all(axis=1)]
            self._count_attempt(rows, "no program found that halts on all its worlds; raise programs.step_limit")

    def _count_attempt(self, rows: np.ndarray, failure: str) -> None:
        self._attempts[rows] += 1
        if self._attempts.max(initial=0) > _MAX_ATTEMPTS:
            raise UserError(f"{self._name}: {_MAX_ATTEMPTS} draws, and {failure}")

    def write(self, path: Path, metadata: dict) -> None:
        """Write the rows as one Arrow shard."""
        columns = {"program": self.programs, **self.worlds.columns(), **self.outputs.columns("out_")}
        write_table(path, columns, metadata, "corpus")


def sampler(job: Job, split: int, length: tuple[int, int]):
    """The language's sampler of specifications as the job's slice describes them, see `LANGUAGE.sampling`."""
    sections = (job.section(name) for name in ("worlds", "programs", "corpus"))
    return LANGUAGE.sampling.Sampler(*sections, split, length)


def samplers(job: Job) -> dict:
    """The sampler of every split. Where a file gives programs, it is read, and the job's notes say what is left out."""
    programs = job.section("programs")
    found = {
        split: sampler(job, number, programs.train_length if split == "train" else programs.test_length)
        for number, split in enumerate(SPLITS)
    }
    if "file" not in job.slice:
        return found
    of_file, read = given.samplers(job, found)
    job.notes["programs_from_file"] = {
        "usable": len(read.lines),
        "left_out": len(read.left_out),
        "why": read.remark,
    }
    return found | of_file


def distinct(shard: Shard, taken: np.ndarray) -> np.ndarray:
    """Draw rows again until no key is in `taken` (sorted) or twice in the shard; returns the sorted union."""
    while True:
        fresh = np.zeros(len(shard.keys), bool)
        fresh[np.unique(shard.keys, return_index=True)[1]] = True
        fresh &= ~_member(shard.keys, taken)
        if fresh.all():
            return np.union1d(taken, shard.keys)
        shard.draw_again(np.flatnonzero(~fresh))


def apart(shard: Shard, taken: np.ndarray) -> None:
    """Draw rows again until no key is in `taken` (sorted)."""
    while (clash := _member(shard.keys, taken)).any():
        shard.draw_again(np.flatnonzero(clash))


def _member(keys: np.ndarray, taken: np.ndarray) -> np.ndarray:
    if not taken.size:
        return np.zeros(len(keys), bool)
    return taken[np.minimum(np.searchsorted(taken, keys), taken.size - 1)] == keys


def _each_once(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once; `np.unique` hashes, which takes ten times as long."""
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])]


def run(job: Job) -> None:
    """Write the shards of every split; `outputs` name them `train`, `validation`, `test`."""
    worlds, corpus = job.section("worlds"), job.section("corpus")
    step_limit, drawing = job.section("programs").step_limit, samplers(job)
    metadata = {
        **LANGUAGE.execution.shape(worlds),
        "worlds": corpus.examples + corpus.held_out,
        "examples": corpus.examples,
    }
    taken = np.empty(0, np.uint64)
    drawn: dict[str, np.ndarray] = {}  # keys of the programs of each split; those of training once each
    computing = Semaphore(job.threads)

    def train_shard(index: int) -> np.ndarray:
        first = index * corpus.shard
        with computing:
            shard = Shard(drawing["train"], first, min(corpus.shard, corpus.train - first), step_limit)
            apart(shard, taken)
            programs = _each_once(shard.program_keys)
        shard.write(job.outputs["train"][index], metadata)
        return programs

    with ThreadPoolExecutor(job.threads + WRITERS) as pool:
        written = []
        for split in ("test", "validation"):
            whole = getattr(corpus, split)
            keys = []
            for index, path in enumerate(job.outputs[split]):
                first = index * corpus.shard
                shard = Shard(drawing[split], first, min(corpus.shard, whole - first), step_limit)
                taken = distinct(shard, taken)
                written.append(pool.submit(shard.write, path, metadata))
                keys.append(shard.program_keys)
            drawn[split] = np.concatenate(keys)
        drawn["train"] = _each_once(np.concatenate([*pool.map(train_shard, range(len(job.outputs["train"])))]))
        for future in written:
            future.result()
    job.notes["distinct_programs"] = {split: len(_each_once(drawn[split])) for split in SPLITS}
    job.notes["share_of_programs_also_in_training"] = {
        split: round(float(_member(drawn[split], drawn["train"]).mean()), 6) for split in ("validation", "test")
    }
