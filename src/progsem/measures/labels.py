"""How hard labels are, and how alike under two semantics: entropies, and shares of states whose label differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progsem.measures.intervals import quotient
from progsem.measures.results import Outcomes, Settings


def entropy_bits(counts: np.ndarray) -> float:
    """Shannon entropy of the distribution that `counts` describe, in bits; 0 for no or one outcome."""
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return 0.0
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def entropies(outcome: Outcomes, chosen: np.ndarray, settings: Settings) -> np.ndarray:
    """Entropy in bits of the label of each feature over the chosen states, (F + 1,); last the mean over features.

    `chosen` is (N, F) bool. A feature with several heads has one label, their combination. NaN where no
    state is chosen.
    """
    return _with_mean(
        [_entropy(outcome.labels[name][here]) for name, here in zip(settings.features, chosen.T, strict=True)]
    )


def _entropy(labels: np.ndarray) -> float:
    if not len(labels):
        return np.nan
    joint = np.ravel_multi_index(tuple(labels.T), tuple(labels.max(axis=0).astype(int) + 1))
    return entropy_bits(np.bincount(joint))


@dataclass(frozen=True)
class Common:
    """The states that two semantics have in common, and where their labels differ: (N, F) bool for either's N states.

    A state that only one of them has (control flow may take another way) is in neither. in_both: (N,) bool, whether
    each state of the first is one of the second.
    """

    differs: tuple[np.ndarray, np.ndarray]
    in_both: np.ndarray

    @classmethod
    def of(cls, first: Outcomes, second: Outcomes, settings: Settings) -> Common:
        """What outcomes have in common: the same source, offset, program and statement."""
        rows = common_states(first, second)
        labels = (
            [one.labels[name][here] for name in settings.features]
            for one, here in zip((first, second), rows, strict=True)
        )
        unlike = np.stack([(one != other).any(axis=1) for one, other in zip(*labels, strict=True)], axis=1)
        differs = tuple(np.zeros(outcome.majority.shape, dtype=bool) for outcome in (first, second))
        for chosen, here in zip(differs, rows, strict=True):
            chosen[here] = unlike
        in_both = np.zeros(len(first.source), dtype=bool)
        in_both[rows[0]] = True
        return cls(differs, in_both)

    def share_differing(self, chosen: np.ndarray) -> np.ndarray:
        """Share of the chosen states whose label differs, (F + 1,); last the mean over features.

        `chosen` (N, F) are states of the first. NaN where both have none of them.
        """
        there = chosen & self.in_both[:, None]
        return _with_mean(quotient((there & self.differs[0]).sum(axis=0), there.sum(axis=0)))


def common_states(first: Outcomes, second: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both in which the same states stand: same source, offset, program and statement."""

    def keys(outcome: Outcomes) -> np.ndarray:
        # Each part is below a million: test programs are that many at most.
        key = np.zeros(len(outcome.source), dtype=np.int64)
        for part in (outcome.source, outcome.offset.astype(np.int64) + 1_000, outcome.cluster, outcome.statement):
            key = key * 1_000_000 + part
        return key

    return np.intersect1d(keys(first), keys(second), assume_unique=True, return_indices=True)[1:]


def _with_mean(values) -> np.ndarray:
    """(F,) with the mean over the features that are defined appended."""
    values = np.asarray(values, dtype=float)
    defined = values[np.isfinite(values)]
    return np.append(values, defined.mean() if len(defined) else np.nan)
