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

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from progsem.measures.analysis import Analysis
from progsem.measures.content import Content, contents_of, for_all_features, in_all, pool
from progsem.measures.content_estimates import Estimated, borrowed, rows_of
from progsem.measures.intervals import WINDOW
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED, Checkpoint, Outcomes, Settings, read_outcomes, read_programs, statements
from progsem.study.vocabulary import ORIGINAL, PROGRAMS, SOURCES


class PositionKey(NamedTuple):
    """Which states: what they are counted by (`from_start`, `from_end` or `length`), and the number."""

    source: str
    semantics: str
    by: str
    value: int


class Places(NamedTuple):
    """Semantic content by place, and whether any of the states there has trained the probes."""

    contents: dict[PositionKey, Content]
    trained: dict[PositionKey, bool]

    def estimated(self, settings: Settings) -> Estimated:
        """Estimates of all contents."""
        found = Estimated()
        for key, content in self.contents.items():
            found.add(key, content, settings)
        return found


def position_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table: for each LM seed, and pooled where there are several."""
    settings, draws = analysis.settings, analysis.draws
    steps = settings.lm.every_step()[-WINDOW:]

    def measured(checkpoints: list[Checkpoint]) -> list[tuple[Places | None, Estimated]]:
        # How fits differ is seen without replicates.
        mine = draws if checkpoints[0].step == steps[-1] else draws.data_alone()
        places = [measure_places(one, settings, mine) for one in checkpoints]
        return [(one if mine is draws else None, one.estimated(settings)) for one in places]

    by_step = analysis.at_each(steps, measured)
    last = dict(zip(settings.lm.seeds, (places for places, _ in by_step[steps[-1]]), strict=True))
    found = {
        seed: borrowed({step: each[index][1] for step, each in by_step.items()})[steps[-1]]
        for index, seed in enumerate(settings.lm.seeds)
    }
    if settings.pooled:
        last[POOLED] = pool_places(list(last.values()))
        found[POOLED] = last[POOLED].estimated(settings)
    rows = []
    for name, places in last.items():
        for key, columns in found[name].estimates.items():
            where = {"lm_seed": name, "step": steps[-1]} | key._asdict() | {"trained": places.trained[key]}
            rows += [row | where | found[name].counts[key].at(f) for (f, _), row in rows_of(columns, settings)]
    return rows


def measure_places(checkpoint: Checkpoint, settings: Settings, draws: Resamples) -> Places:
    """What is read at each place."""
    programs = read_programs(checkpoint.programs, settings.test)
    found = Places({}, {})
    for semantics in (ORIGINAL, *settings.alternatives[:1]):  # the difficulty-matched one is the first
        outcome = read_outcomes(checkpoint.predictions[semantics], settings, programs["row_in_file"])
        training, sets = of_training(outcome, settings), {}
        for source in settings.sources:
            here = (outcome.source == SOURCES.index(source)) & (outcome.offset == 0)
            lengths = statements(programs[PROGRAMS[source]])
            for by, numbers in numbered(outcome, lengths).items():
                for value in np.unique(numbers[here]):
                    chosen, key = here & (numbers == value), PositionKey(source, semantics, by, int(value))
                    sets[key] = for_all_features(chosen, settings)
                    found.trained[key] = bool(training[chosen].any())
        found.contents.update(contents_of(outcome, sets, settings, draws))
    return found


def pool_places(each: Sequence[Places]) -> Places:
    """The same with the language models as units."""
    contents = [one.contents for one in each]
    keys = in_all(contents)
    return Places(
        {key: pool([one[key] for one in contents]) for key in keys},
        {key: any(one.trained[key] for one in each) for key in keys},
    )


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
