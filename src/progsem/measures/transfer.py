"""Whether the last checkpoint solves specifications of other kinds than its training's: table `generalisation`.

A row for each set as a whole (`length` -1), and for each number of statements that the
programs behind its specifications have. The first set is the test set, to compare with.
`in_training_range` says whether training has programs of that length (of all of the
set's lengths): if so, and for a set of longer or shorter programs it never is, only the
worlds' size is new.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.generation import ACCURACIES, Sampled, pool_generations
from progsem.measures.intervals import quotient
from progsem.measures.resampling import SPECIFICATIONS, Resamples
from progsem.measures.results import Settings, read_programs, statements
from progsem.storage.files import read_table

ALL = -1  # the length of a whole set
TEST_SET = "test set"  # no name of a set in the config has a space
SHARES = ("generative_accuracy", "strict_accuracy", "unconstrained_accuracy")


class SetKey(NamedTuple):
    """Some specifications of a set: those whose programs have so many statements, or all."""

    set: str
    length: int


def generalisation_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table, for each LM seed, and pooled where there are several."""
    settings, step = analysis.settings, analysis.settings.lm.every_step()[-1]
    shares = []  # of each language model; all are given the same specifications
    for one in analysis.checkpoints:
        if one.step == step:
            found = shares_by_length(TEST_SET, read_programs(one.programs, settings.test), analysis.draws)
            files = analysis.generalisation
            shares.append(found | (shares_of_sets(files[one.seed], settings) if one.seed in files else {}))
    if settings.pooled:
        shares.append(pool_generations(shares))
    shortest, longest = settings.train_length
    rows = []
    for name, here in zip(analysis.names, shares, strict=True):
        for key, (values, n) in here.items():
            lengths = [one.length for one in here if one.set == key.set and key.length in (ALL, one.length)]
            row = {"lm_seed": name, "step": step} | key._asdict() | {"n": n}
            row["in_training_range"] = all(shortest <= length <= longest for length in lengths if length != ALL)
            each = n // values.shape[1]  # specifications of one language model
            estimate = intervals.estimate(values, settings.statistics.confidence, each, intervals.SHARE)
            low, high = intervals.share_interval(estimate, each)
            for index, share in enumerate(SHARES):
                row |= {share: estimate.value[index], f"{share}_low": low[index], f"{share}_high": high[index]}
            rows.append(row)
    return rows


def shares_of_sets(path: Path, settings: Settings) -> dict[SetKey, Sampled]:
    """`shares_by_length` of every set in a file of the stage `generalisation`."""
    columns, about = read_table(path)
    found, draws = {}, {}
    for name in settings.sets:
        here = columns["set"] == about["sets"].index(name)
        size = int(here.sum())
        if size not in draws:
            draws[size] = Resamples.drawn(settings, SPECIFICATIONS, size)
        found |= shares_by_length(name, {column: values[here] for column, values in columns.items()}, draws[size])
    return found


def shares_by_length(name: str, programs: dict[str, np.ndarray], draws: Resamples) -> dict[SetKey, Sampled]:
    """The `SHARES` of a set's specifications that are solved, values (1 + R, 1, 3), by length of their programs."""
    lengths = statements(programs["reference"])
    solved = np.stack([programs[ACCURACIES[share]] for share in SHARES], axis=1).astype(bool)
    groups = {ALL: np.ones(len(lengths), bool)}
    groups |= {int(length): lengths == length for length in np.unique(lengths)}
    sums = [np.concatenate([group[:, None], solved & group[:, None]], axis=1) for group in groups.values()]
    totals = draws.totals(np.stack(sums, axis=1))
    return {
        SetKey(name, length): Sampled(quotient(totals[:, index, 1:], totals[:, index, :1])[:, None], int(group.sum()))
        for index, (length, group) in enumerate(groups.items())
    }
