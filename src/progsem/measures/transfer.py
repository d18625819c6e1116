"""Whether the last checkpoint solves specifications of other kinds than its training's: table `generalisation`.

A row for each set as a whole (`length` -1), and for each number of statements that the
programs behind its specifications have. The first set is the test set, to compare with.
`in_training_range` says whether training has programs of that length (of all of the
set's lengths): if so, and for a set of longer or shorter programs it never is, only the
worlds' size is new.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.draws import SPECIFICATIONS, Draws, drawn
from progsem.measures.results import POOLED, Checkpoint, Settings, read_programs, statements
from progsem.storage.files import read_table

ALL = -1  # the length of a whole set
TEST_SET = "test set"  # no name of a set in the config has a space
SHARES = {
    "generative_accuracy": "correct_shown",
    "strict_accuracy": "correct_all",
    "unconstrained_accuracy": "unconstrained_correct",
}


def generalisation_rows(
    checkpoints: list[Checkpoint], files: dict[int, Path], settings: Settings, draws: Draws
) -> list[dict]:
    """Rows of the table; `files` are those of the stage `generalisation` by LM seed, if there are sets."""
    last = {one.seed: one for one in checkpoints if one.step == settings.lm.checkpoints()[-1]}
    measured = {seed: shares_of_test_set(one, settings, draws) for seed, one in last.items()}
    for seed, path in files.items():
        measured[seed] |= shares_of_sets(path, settings)
    if settings.pooled:
        each = list(measured.values())
        # Every language model is given the same specifications.
        measured[POOLED] = {
            key: (np.concatenate([one[key][0] for one in each], axis=1), n) for key, (_, n) in each[0].items()
        }
    rows = []
    for name, shares in measured.items():
        for (kind, length), (values, n) in shares.items():
            row = {"lm_seed": name, "step": settings.lm.checkpoints()[-1], "set": kind, "length": length}
            lengths = [one for other, one in shares if other == kind and one != ALL] if length == ALL else [length]
            row["in_training_range"] = all(
                settings.train_length[0] <= one <= settings.train_length[1] for one in lengths
            )
            estimate = bootstrap.estimate(values, settings.statistics.confidence, n, bootstrap.SHARE)
            low, high = bootstrap.share_interval(estimate, n)
            for index, share in enumerate(SHARES):
                row |= {share: estimate.value[index], f"{share}_low": low[index], f"{share}_high": high[index]}
            rows.append(row | {"n": n * values.shape[1]})
    return rows


def shares_of_test_set(
    checkpoint: Checkpoint, settings: Settings, draws: Draws
) -> dict[tuple[str, int], tuple[np.ndarray, int]]:
    """`shares_by_length` of the specifications that all other tables are of, under the name `TEST_SET`."""
    programs = read_programs(checkpoint.programs, settings.test)
    return {(TEST_SET, length): shares for length, shares in shares_by_length(programs, draws).items()}


def shares_of_sets(path: Path, settings: Settings) -> dict[tuple[str, int], tuple[np.ndarray, int]]:
    """`shares_by_length` of every set, by set and length."""
    columns, about = read_table(path)
    found = {}
    sizes = np.bincount(columns["set"])
    draws = {size: drawn(settings, SPECIFICATIONS, int(size)) for size in np.unique(sizes[sizes > 0])}
    for name in settings.sets:
        here = columns["set"] == about["sets"].index(name)
        of_set = shares_by_length({column: values[here] for column, values in columns.items()}, draws[here.sum()])
        found |= {(name, length): shares for length, shares in of_set.items()}
    return found


def shares_by_length(programs: dict[str, np.ndarray], draws: Draws) -> dict[int, tuple[np.ndarray, int]]:
    """The `SHARES` of specifications that are solved, (1 + R, 1, 3), and of how many, by length of their programs."""
    lengths = statements(programs["reference"])
    solved = np.stack([programs[column] for column in SHARES.values()], axis=1)
    groups = {ALL: np.ones(len(lengths), bool)}
    groups |= {int(length): lengths == length for length in np.unique(lengths)}
    sums = [np.concatenate([group[:, None], solved * group[:, None]], axis=1) for group in groups.values()]
    counted = draws.totals(np.concatenate(sums, axis=1))
    counted = counted.reshape(len(counted), len(groups), -1)
    return {
        length: (bootstrap.ratio(counted[:, index, 1:], counted[:, index, :1])[:, None], int(group.sum()))
        for index, (length, group) in enumerate(groups.items())
    }
