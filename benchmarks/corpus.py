"""Stages `corpus`, sampled and executed programs as Arrow shards, and `reexecution`, under other semantics with traces.

Both at the paper's shape: worlds of 6 x 6, ten for each program of six to ten
statements. The baseline is the plain interpreter, in one process a core.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks import limits
from benchmarks.common import Row, in_turn, study
from progsem.data import corpus
from progsem.jobs.job import Job
from progsem.languages.karel import interpreter, kernels
from progsem.languages.karel.codes import ACTIONS, HEADINGS, PAD, WALL, most_codes, semantics
from progsem.languages.karel.syntax import Action, Program, encode
from progsem.languages.karel.world import World
from progsem.storage.files import write_table
from progsem.study.config import Study

CORES = len(os.sched_getaffinity(0))
ROUNDS = 5
PROGRAMS = 520_000  # of the paper, in all splits
FEW = 2_000  # enough to have everything compiled
PLAIN = 5_000  # that the baseline takes in a round, on each core
REEXECUTED = 50_000  # each on ten worlds
UNIT = "programs"
GROWTH = (52_000, 164_000, 520_000)


def job(folder: Path, programs: int) -> Job:
    """The corpus job of the paper's study with so many programs, split as the paper's 520 000, into `folder`."""
    held = programs // 52
    counts = {"train": programs - 2 * held, "validation": held, "test": held}
    paper = study("paper", {"corpus": counts, "traces": {split: min(counts[split], 1000) for split in counts}})
    outputs = {
        split: [folder / split / f"{n:05d}.arrow" for n in range(-(-count // paper.corpus.shard))]
        for split, count in counts.items()
    }
    return Job("corpus", paper.model_dump(mode="json"), {}, outputs, threads=CORES)


def written_bytes(made: Job) -> int:
    """Bytes of all that a job has written."""
    return sum(path.stat().st_size for paths in made.outputs.values() for path in paths)


def grow(size: int) -> float:
    """Seconds that a corpus of so many programs takes."""
    with tempfile.TemporaryDirectory() as folder:
        corpus.run(job(Path(folder) / "compiled", FEW))
        made = job(Path(folder) / "measured", size)
        started = time.perf_counter()
        corpus.run(made)
        return time.perf_counter() - started


def measure() -> list[Row]:
    """Rows `corpus` and `reexecution`."""
    with contextlib.ExitStack() as stack:
        crew = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in range(CORES)]

        def plain(task: Callable[[int], None]) -> None:
            """Have each process of the crew do it for `PLAIN` programs."""
            for future in [member.submit(task, PLAIN) for member in crew]:
                future.result()

        return [_corpus(plain), _reexecution(plain)]


def _corpus(plain: Callable) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        corpus.run(job(Path(folder), FEW))  # compiled
        disk = limits.disk_rate(Path(folder))
    plain(_plain_corpus)  # its imports
    ours, baseline = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            made = job(Path(folder), PROGRAMS)
            seconds = in_turn(1, ours=partial(corpus.run, made), plain=partial(plain, _plain_corpus))
            size = written_bytes(made) / PROGRAMS
        ours += seconds["ours"]
        baseline += seconds["plain"]
    return Row(
        stage="corpus",
        work=f"{PROGRAMS:,} programs of the paper's study sampled, run on 10 worlds each, written as Arrow",
        unit="programs/s",
        ours=PROGRAMS / statistics.median(ours),
        baseline=PLAIN * CORES / statistics.median(baseline),
        baseline_work=f"{PLAIN * CORES:,} of them by the plain interpreter, one process a core",
        limit=disk / size,
        limit_work=f"{size:.0f} bytes a program at the rate at which this disk takes a new file for good",
        reach=240_000,
        reach_of="ours",
    )


def _reexecution(plain: Callable) -> Row:
    paper = study("paper", {})
    sampler = corpus.sampler(job(Path(), PROGRAMS), 0, paper.programs.train_length)
    drawn = corpus.Shard(sampler, 0, REEXECUTED, paper.programs.step_limit)
    worlds = drawn.worlds.poses.shape[1]
    programs = np.repeat(drawn.programs, worlds, axis=0)
    cells, poses = (array.reshape(-1, *array.shape[2:]) for array in drawn.worlds)
    meanings = [semantics(mapping) for mapping in paper.interventions.alternatives.values()]
    shares = np.array_split(np.arange(len(programs)), CORES)
    shares = [slice(share[0], share[-1] + 1) for share in shares]
    limit = paper.programs.step_limit

    def trace(meaning: tuple[int, ...], share: slice) -> kernels.Trace:
        return kernels.trace(programs[share], cells[share], poses[share], meaning, limit)

    def ours() -> list[kernels.Trace]:
        """Traces under the last of the alternatives; the others are dropped, as a job does."""
        for meaning in meanings:
            with ThreadPoolExecutor(CORES) as threads:
                traces = list(threads.map(partial(trace, meaning), shares))
        return traces

    trace(meanings[0], slice(1))  # compiled
    plain(_plain_alternatives)  # drawn
    seconds = in_turn(ROUNDS, ours=ours, plain=lambda: plain(_plain_alternatives))
    count = len(programs) * len(meanings)
    size = sum(array.nbytes for array in (programs, cells, poses)) / len(programs)
    size += sum(array.nbytes for part in ours() for array in part) / len(programs)
    return Row(
        stage="reexecution",
        work=f"{count:,} times a program on a world, under {len(meanings)} alternative semantics, with traces",
        unit="program*world/s",
        ours=count / statistics.median(seconds["ours"]),
        baseline=PLAIN * CORES * len(meanings) / statistics.median(seconds["plain"]),
        baseline_work=f"{PLAIN * CORES * len(meanings):,} of them by the plain interpreter, one process a core",
        limit=limits.memory_bandwidth(CORES) / size,
        limit_work=f"{size:.0f} bytes read and written for each, at the rate of copying memory on all cores",
        reach=5_000_000,
        reach_of="ours",
    )


def _plain_world(draw: random.Random, paper: Study) -> World:
    """An input world, cell by cell."""
    height, width = paper.worlds.height, paper.worlds.width
    cells = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            if draw.random() < paper.worlds.wall_probability:
                cells[row, column] = WALL
            elif draw.random() < paper.worlds.marker_probability:
                cells[row, column] = 1
    world = World(cells, draw.randrange(height), draw.randrange(width), draw.randrange(len(HEADINGS)))
    cells[world.row, world.column] = 0
    return world


def _plain_program(draw: random.Random, paper: Study) -> Program:
    """A program without control flow, statement by statement."""
    weights = paper.programs.weights.model_dump()
    length = draw.randint(*paper.programs.train_length)
    names = draw.choices(ACTIONS, [weights[name] for name in ACTIONS], k=length)
    return Program(tuple(Action(name) for name in names))


def _plain_corpus(programs: int) -> None:
    """The same kind of corpus with the plain interpreter: programs and worlds one after the other."""
    paper, draw = study("paper", {}), random.Random(0)
    worlds = paper.corpus.examples + paper.corpus.held_out
    columns: dict[str, list] = {name: [] for name in ("program", "cells", "poses", "out_cells", "out_poses")}
    for _ in range(programs):
        program = _plain_program(draw, paper)
        codes = encode(program)
        columns["program"].append(codes + [PAD] * (most_codes(paper.programs) - len(codes)))
        before = [_plain_world(draw, paper) for _ in range(worlds)]
        after = [interpreter.run(program, world, paper.programs.step_limit).world for world in before]
        for prefix, group in (("", before), ("out_", after)):
            columns[f"{prefix}cells"].append(np.concatenate([world.cells.ravel() for world in group]))
            columns[f"{prefix}poses"].append(np.concatenate([world.pose for world in group]))
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "0.arrow", {name: np.array(rows, np.uint8) for name, rows in columns.items()})


@cache
def _plain_cases(programs: int) -> list[tuple[Program, World]]:
    paper, draw = study("paper", {}), random.Random(0)
    return [(_plain_program(draw, paper), _plain_world(draw, paper)) for _ in range(programs)]


def _plain_alternatives(programs: int) -> None:
    """So many programs, each traced on a world of its own under every alternative."""
    paper = study("paper", {})
    for meaning in paper.interventions.alternatives.values():
        for program, world in _plain_cases(programs):
            interpreter.run(program, world, paper.programs.step_limit, meaning)
