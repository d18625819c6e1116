"""Where in a program states can be read: table `positions`, of the last checkpoint.

The test states at offset 0, under the original semantics and the difficulty-matched one:
by their statement's number counted from the start of the program (`from_start`, 1 is the
first), counted from its end (`from_end`, 1 is the last), and by the number of the
program's statements (`length`). The most frequent label is that of all training states,
as everywhere. `trained` says whether any of the states is of a statement whose states
have trained and chosen the probes (`probes.positions`).

The checkpoints before the last are measured too, for the variance of the fits alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.bootstrap import WINDOW
from progsem.measures.content import Content, contents_of, in_all, pool
from progsem.measures.draws import Draws
from progsem.measures.results import (
    ORIGINAL,
    POOLED,
    PROGRAMS,
    SOURCES,
    Checkpoint,
    Chosen,
    Outcomes,
    Settings,
    read_outcomes,
    read_programs,
    statements,
)
from progsem.measures.tables import CONTENT, Counts, estimates_of, rows_of

BY = ("from_start", "from_end", "length")


class Measured(NamedTuple):
    """What is measured at one checkpoint: `position_contents`, and their estimates by key and column."""

    checkpoint: Checkpoint
    contents: dict[tuple, Content]
    trained: dict[tuple, bool]
    estimates: dict[tuple, bootstrap.Estimate]


def measure_positions(
    checkpoints: list[Checkpoint], settings: Settings, draws: Draws, workers: Executor
) -> Iterable[Measured]:
    """The last checkpoints, of which all but the last need no replicates: how fits differ is seen without."""
    steps = settings.lm.checkpoints()[-WINDOW:]

    def measured(one: Checkpoint) -> Measured:
        contents, trained = position_contents(one, settings, draws if one.step == steps[-1] else None)
        return Measured(one, contents, trained, _estimates(contents, settings))

    return workers.map(measured, [one for one in checkpoints if one.step in steps])


def position_rows(measured: Iterable[Measured], settings: Settings) -> list[dict]:
    """Rows of the table: for each LM seed, and pooled where there are several."""
    steps = settings.lm.checkpoints()[-WINDOW:]
    estimates = {seed: {} for seed in settings.lm.seeds}
    last, trained = {}, {}
    for one in measured:
        seed, step = one.checkpoint.seed, one.checkpoint.step
        estimates[seed][step] = one.estimates
        if step == steps[-1]:
            last[seed], trained[seed] = one.contents, one.trained
    found = {seed: bootstrap.borrow(by_step)[steps[-1]] for seed, by_step in estimates.items()}
    if settings.pooled:
        each = list(last.values())
        last[POOLED] = {key: pool([one[key] for one in each]) for key in in_all(each)}
        found[POOLED] = _estimates(last[POOLED], settings)
        trained[POOLED] = {key: any(one[key] for one in trained.values()) for key in last[POOLED]}
    rows = []
    for name, contents in last.items():
        for key, content in contents.items():
            source, semantics, by, value = key
            where = {"lm_seed": name, "step": steps[-1], "source": source, "semantics": semantics, "by": by}
            where |= {"value": value, "trained": trained[name][key]}
            count = Counts.of(content)
            for (f, _), row in rows_of({column: found[name][*key, column] for column in CONTENT}, settings):
                rows.append(where | row | count.at(f))
    return rows


def position_contents(
    checkpoint: Checkpoint, settings: Settings, draws: Draws | None
) -> tuple[dict[tuple, Content], dict[tuple, bool]]:
    """By (source, semantics, by, value): semantic content, and whether any of the states has trained the probes."""
    programs = read_programs(checkpoint.programs, settings.test)
    groups, trained = {}, {}
    for semantics in (ORIGINAL, *settings.alternatives[:1]):  # the difficulty-matched one is the first
        outcome = read_outcomes(checkpoint.predictions[semantics], settings, programs["row_in_file"])
        training = of_training(outcome, settings)
        for source in settings.sources:
            here = (outcome.source == SOURCES.index(source)) & (outcome.offset == 0)
            lengths = statements(programs[PROGRAMS[source]])
            for by, numbers in numbered(outcome, lengths).items():
                for value in np.unique(numbers[here]):
                    chosen, key = here & (numbers == value), (source, semantics, by, int(value))
                    groups[key] = Chosen.of(outcome, chosen)
                    trained[key] = bool(training[chosen].any())
    return {key: made() for key, made in contents_of(groups, settings, draws).items()}, trained


def numbered(outcome: Outcomes, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """What each state is counted by: (N,) each; `lengths` (test,) are those of the programs."""
    length = lengths[outcome.cluster]
    return {"from_start": outcome.statement + 1, "from_end": length - outcome.statement, "length": length}


def of_training(outcome: Outcomes, settings: Settings) -> np.ndarray:
    """Whether each state is of a statement whose states have trained the probes: (N,) bool."""
    if not settings.probes.positions:
        return np.ones(len(outcome.statement), dtype=bool)
    ranges = [(first <= outcome.statement) & (outcome.statement <= last) for first, last in settings.probes.positions]
    return np.any(ranges, axis=0)


def _estimates(contents: dict[tuple, Content], settings: Settings) -> dict:
    return {
        (*key, column): estimate
        for key, content in contents.items()
        for column, estimate in estimates_of(content, settings).items()
    }
