"""How hard labels are, and how alike under two semantics: entropies, and shares of states whose label differs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from progsem.measures import answers, bootstrap
from progsem.measures.results import Chosen, Outcomes, Settings


def entropies(chosen: Chosen, settings: Settings) -> np.ndarray:
    """Entropy in bits of the label of each feature over the chosen states, (F + 1,); last the mean over features.

    A feature with several heads has one label, their combination. NaN where no state is chosen.
    """
    bits = []
    for index, feature in enumerate(settings.features):
        joint, classes = chosen.outcome.joint[feature]
        counts = np.zeros(classes, np.int64)
        answers.tally(joint, chosen.rows, chosen.features[:, index], counts)
        bits.append(bootstrap.entropy_bits(counts) if counts.any() else np.nan)
    return _with_mean(bits)


@dataclass(frozen=True)
class Common:
    """The states that two semantics have in common, and where their labels differ.

    rows: the numbers (M,) of these states among those of the first, and of the second. A state that only one of
    them has (control flow may take another way) is in neither. differs: (M, F) bool.
    """

    first: Outcomes
    second: Outcomes
    rows: tuple[np.ndarray, np.ndarray]
    differs: np.ndarray

    @classmethod
    def of(cls, first: Outcomes, second: Outcomes, settings: Settings) -> Common:
        """What outcomes have in common: the same source, offset, program and statement."""
        rows = in_first, in_second = common_states(first, second)
        differs = [
            (first.labels[feature][in_first] != second.labels[feature][in_second]).any(axis=1)
            for feature in settings.features
        ]
        return cls(first, second, rows, np.stack(differs, axis=1))

    @cached_property
    def unlike(self) -> tuple[np.ndarray, np.ndarray]:
        """States whose label differs, feature by feature: (N, F) bool for the rows of the first, and of the second."""
        sides = tuple(np.zeros(outcome.majority.shape, dtype=bool) for outcome in (self.first, self.second))
        for chosen, rows in zip(sides, self.rows, strict=True):
            chosen[rows] = self.differs
        return sides

    def share_differing(self, chosen: Chosen) -> np.ndarray:
        """Share of the chosen states whose label differs, (F + 1,); last the mean over features.

        `chosen` are states of the first. NaN where both have none of them.
        """
        counts = np.zeros((2, len(chosen.features.T)), np.int64)
        answers.differing(chosen.rows, chosen.features, self._in_both, self.unlike[0], counts)
        return _with_mean(bootstrap.ratio(*counts))

    @cached_property
    def _in_both(self) -> np.ndarray:
        """Whether each state of the first is one of the second, (N,) bool."""
        found = np.zeros(len(self.first.majority), dtype=bool)
        found[self.rows[0]] = True
        return found


def common_states(first: Outcomes, second: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both in which the same states stand: same source, offset, program and statement."""

    def keys(outcome: Outcomes, rows: np.ndarray) -> np.ndarray:
        # Each part is below a million: test programs are that many at most.
        key = np.zeros(len(rows), dtype=np.int64)
        parts = outcome.source, outcome.offset.astype(np.int64) + 1_000, outcome.cluster, outcome.statement
        for part in parts:
            key = key * 1_000_000 + part[rows]
        return key

    # One of them mostly has fewer offsets, and then the same states in the same order.
    rows = [
        np.flatnonzero(np.isin(one.offset, np.unique(other.offset)))
        for one, other in ((first, second), (second, first))
    ]
    each = [keys(outcome, where) for outcome, where in zip((first, second), rows, strict=True)]
    if np.array_equal(*each):
        return tuple(rows)
    _, in_first, in_second = np.intersect1d(*each, assume_unique=True, return_indices=True)
    return rows[0][in_first], rows[1][in_second]


def _with_mean(values) -> np.ndarray:
    """(F,) with the mean over the features that are defined appended."""
    values = np.asarray(values, dtype=float)
    defined = values[np.isfinite(values)]
    return np.append(values, defined.mean() if len(defined) else np.nan)
