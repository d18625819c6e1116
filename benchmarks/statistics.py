"""Statistics of the default study, against a loop over resamples.

The study is one that never ran: its files are as large as the default study's, and what stands in
them is made (`tests/synthetic.py`). Ours is the whole stage, from the files of the stages before to
its own. The baseline does only the largest part of it: for each resample it draws the programs,
looks up the counts of those it has drawn, and adds them.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.common import Row, in_turn, study
from benchmarks.limits import matrix_rate
from progsem.jobs.job import Job
from progsem.measures import statistics
from progsem.measures.content import content_of, read_semantics
from progsem.measures.content_estimates import estimates_of
from progsem.measures.resampling import Resamples, resampling_weights
from progsem.measures.results import Settings, find_checkpoints, read_programs
from tests.synthetic import write_results

UNIT = "resamples"
GROWTH = (2_500, 5_000, 10_000)

_LOOPED = 10  # resamples that the baseline does; the others would take as long each
_ROUNDS = 2
_REACH = 30  # seconds


def resampled(job: Job, resamples: int) -> Job:
    """The same job with another number of resamples, on all cores."""
    settings = job.slice["statistics"] | {"resamples": resamples}
    return replace(job, slice=job.slice | {"statistics": settings}, threads=len(os.sched_getaffinity(0)))


@dataclass
class Counted:
    """Instead of `Resamples`: notes the counts that totals are asked for."""

    counts: list[np.ndarray] = field(default_factory=list)

    def totals(self, counts: np.ndarray) -> np.ndarray:
        """The data's own totals, (1, …)."""
        self.counts.append(counts.reshape(len(counts), -1))
        return counts.sum(axis=0)[None]


def counts_of(job: Job) -> list[np.ndarray]:
    """What is counted of every test program at each checkpoint, to compare semantics: (C, K) each."""
    settings, found = Settings.of(job), []
    for checkpoint in find_checkpoints(job, settings):
        rows, counted = read_programs(checkpoint.programs, settings.test)["row_in_file"], Counted()
        for _ in read_semantics(checkpoint, settings, counted, rows):
            pass
        found.append(np.concatenate(counted.counts, axis=1))
    return found


def loop(counts: np.ndarray, resamples: int) -> np.ndarray:
    """Totals (resamples, …) of counts (C, …): draw programs with replacement, add what was counted of them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(counts), size=len(counts))
        found.append(counts[drawn].sum(axis=0))
    return np.stack(found)


def measure() -> list[Row]:
    """Seconds of the stage on all cores."""
    with tempfile.TemporaryDirectory() as folder:
        default = study(None, {})
        job, resamples = write_results(Path(folder), default), default.statistics.resamples
        statistics.run(resampled(job, 100))  # what the system keeps of the files
        counts = counts_of(job)
        seconds = in_turn(
            _ROUNDS,
            ours=lambda: statistics.run(resampled(job, resamples)),
            baseline=lambda: loop(counts[-1], _LOOPED),
        )
    checkpoints, programs, columns = len(counts), len(counts[0]), sum(one.shape[1] for one in counts)
    looped = min(seconds["baseline"]) * checkpoints * resamples / _LOOPED
    cores = len(os.sched_getaffinity(0))
    return [
        Row(
            stage="statistics",
            work=f"the default study's {checkpoints} checkpoints with {resamples:,} resamples on {cores} cores, from "
            "the files of the stages before to all tables and summary.json",
            unit="s",
            ours=min(seconds["ours"]),
            baseline=looped,
            baseline_work=f"a loop over resamples that adds {columns:,} counts of the {programs:,} programs drawn, and "
            f"no more; {_LOOPED} resamples at the last checkpoint, times {checkpoints * resamples // _LOOPED:,}",
            limit=2 * programs * resamples * columns / _matrix_rate(cores),
            limit_work=f"products of the weights with these counts, in float32 on {cores} cores, and nothing else",
            reach=_REACH,
            reach_of="ours",
        )
    ]


def _matrix_rate(threads: int) -> float:
    import torch

    return matrix_rate(torch.float32, threads)


def grow(size: int) -> float:
    """Seconds of so many resamples of as many counts as ten sets of states have, on one thread."""
    default = study(None, {"statistics": {"resamples": size}})
    rng = np.random.default_rng(0)
    shape = len(default.probes.features), 2 + len(default.probes.depths) * default.probes.seeds
    counts = rng.integers(0, 4, size=(default.traces.test, 10, *shape))
    started = 0.0
    for resamples in (1, size):  # first whatever has to be loaded
        started = time.perf_counter()
        totals = Resamples(resampling_weights(default.traces.test, resamples, rng)).totals(counts)
        for states in range(counts.shape[1]):
            content = content_of(totals[:, states], np.full(shape[0], len(counts)), default.probes.seeds)
            estimates_of(content, default)
    return time.perf_counter() - started
