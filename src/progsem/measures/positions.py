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

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.bootstrap import WINDOW
from progsem.measures.content import Content, contents_of, in_all, pool, program_weights
from progsem.measures.results import (
    ORIGINAL,
    POOLED,
    PROGRAMS,
    SOURCES,
    Checkpoint,
    Outcomes,
    Settings,
    read_outcomes,
    read_programs,
    statements,
)
from progsem.measures.tables import CONTENT, Counts, estimates_of, rows_of

BY = ("from_start", "from_end", "length")


def position_rows(checkpoints: list[Checkpoint], settings: Settings) -> list[dict]:
    """Rows of the table: for each LM seed, and pooled where there are several."""
    weights = program_weights(settings)
    steps = settings.lm.checkpoints()[-WINDOW:]
    estimates = {seed: {} for seed in settings.lm.seeds}
    last, trained = {}, {}
    for one in checkpoints:
        if one.step in steps:
            contents, of_trained = position_contents(one, settings, weights)
            estimates[one.seed][one.step] = _estimates(contents, settings)
            if one.step == steps[-1]:
                last[one.seed], trained[one.seed] = contents, of_trained
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
    checkpoint: Checkpoint, settings: Settings, weights: np.ndarray
) -> tuple[dict[tuple, Content], dict[tuple, bool]]:
    """By (source, semantics, by, value): semantic content, and whether any of the states has trained the probes."""
    programs = read_programs(checkpoint.programs, settings.test)
    groups, outcomes = {}, {}
    for semantics in (ORIGINAL, *settings.alternatives[:1]):  # the difficulty-matched one is the first
        outcomes[semantics] = read_outcomes(checkpoint.predictions[semantics], settings, programs["row_in_file"])
        for source in settings.sources:
            here = (outcomes[semantics].source == SOURCES.index(source)) & (outcomes[semantics].offset == 0)
            lengths = statements(programs[PROGRAMS[source]])
            for by, numbers in numbered(outcomes[semantics], lengths).items():
                for value in np.unique(numbers[here]):
                    chosen = here & (numbers == value)
                    groups[source, semantics, by, int(value)] = chosen[:, None].repeat(len(settings.features), axis=1)
    contents, trained = {}, {}
    for semantics, outcome in outcomes.items():
        mine = {key: chosen for key, chosen in groups.items() if key[1] == semantics}
        contents |= contents_of(outcome, mine, settings, weights)
        training = of_training(outcome, settings)
        trained |= {key: bool(training[chosen.any(axis=1)].any()) for key, chosen in mine.items()}
    return {key: contents[key] for key in groups}, trained


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
