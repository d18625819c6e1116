"""How hard labels are, and how alike under two semantics: entropies, and shares of states whose label differs."""

from __future__ import annotations

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.results import Outcomes, Settings


def entropies(outcome: Outcomes, chosen: np.ndarray, settings: Settings) -> np.ndarray:
    """Entropy in bits of the label of each feature over the chosen states, (F + 1,); last the mean over features.

    `chosen` is (N, F) bool. A feature with several heads has one label, their combination. NaN where
    no state is chosen.
    """
    bits = [_entropy(outcome.labels[feature][chosen[:, index]]) for index, feature in enumerate(settings.features)]
    return _with_mean(bits)


def _entropy(labels: np.ndarray) -> float:
    if not len(labels):
        return np.nan
    # One number a row: heads are few, and their labels below 256.
    joint = labels.astype(np.int64) @ (256 ** np.arange(labels.shape[1]))
    return bootstrap.entropy_bits(np.unique(joint, return_counts=True)[1])


def common_states(first: Outcomes, second: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both in which the same states stand: same source, offset, program and statement.

    A state that only one of them has (control flow may take another way) is in neither.
    """

    def keys(outcome: Outcomes) -> np.ndarray:
        # Each part is below a million: test programs are that many at most.
        key = np.zeros(len(outcome.source), dtype=np.int64)
        for part in (outcome.source, outcome.offset.astype(np.int64) + 1_000, outcome.cluster, outcome.statement):
            key = key * 1_000_000 + part
        return key

    _, in_first, in_second = np.intersect1d(keys(first), keys(second), assume_unique=True, return_indices=True)
    return in_first, in_second


def unlike(first: Outcomes, second: Outcomes, rows: tuple[np.ndarray, np.ndarray], settings: Settings) -> np.ndarray:
    """Whether the labels of the same states, as `common_states` has them, differ: (M, F) bool."""
    in_first, in_second = rows
    return np.stack(
        [
            (first.labels[feature][in_first] != second.labels[feature][in_second]).any(axis=1)
            for feature in settings.features
        ],
        axis=1,
    )


def shares_differing(first: Outcomes, second: Outcomes, chosen: np.ndarray, settings: Settings) -> np.ndarray:
    """Share of the states that both semantics have whose label differs, (F + 1,); last the mean over features.

    `chosen` is (N, F) bool, states of `first`. NaN where there are none.
    """
    rows = common_states(first, second)
    differs, counted = unlike(first, second, rows, settings), chosen[rows[0]]
    states = counted.sum(axis=0)
    return _with_mean(bootstrap.ratio((differs & counted).sum(axis=0), states))


def _with_mean(values) -> np.ndarray:
    """(F,) with the mean over the features that are defined appended."""
    values = np.asarray(values, dtype=float)
    defined = values[np.isfinite(values)]
    return np.append(values, defined.mean() if len(defined) else np.nan)
