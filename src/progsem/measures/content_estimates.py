"""From semantic content to estimates with intervals, and from these to rows of tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from progsem.measures import intervals
from progsem.measures.content import Compared, Content, Fits, Labels
from progsem.measures.intervals import Estimate
from progsem.measures.results import Settings
from progsem.study.vocabulary import MEAN

CONTENT = ("accuracy", "majority", "corrected")
# Columns of two semantics: of which side, or the difference of the two.
SIDES = {
    "raw_original": ("original", "accuracy"),
    "raw_alternative": ("alternative", "accuracy"),
    "majority_original": ("original", "majority"),
    "majority_alternative": ("alternative", "majority"),
    "original": ("original", "corrected"),
    "alternative_content": ("alternative", "corrected"),
}
DIFFERENCES = {"raw_difference": "accuracy", "difference": "corrected"}
# What values these columns can take; differences can take any.
WITHIN = {"accuracy": intervals.SHARE, "majority": intervals.SHARE, "corrected": intervals.CORRECTED}
# Columns of an interval that are not called after that of the estimate.
ENDS = {"difference": ("ci_low", "ci_high"), "raw_difference": ("raw_ci_low", "raw_ci_high")}


@dataclass(frozen=True)
class Counts:
    """What a set of states consists of, by feature and (last) for their mean: states and programs (F + 1,).

    `features`: how many the mean is taken over; `labels`: of two semantics.
    """

    states: np.ndarray
    programs: np.ndarray
    features: int
    labels: Labels | None = None

    @classmethod
    def of(cls, content: Content, labels: Labels | None = None) -> Counts:
        """Those of a semantic content."""
        return cls(content.states, content.programs, int(content.defined.sum()), labels)

    def at(self, feature: int) -> dict:
        """The columns n_states and n_programs of a feature's row."""
        return {"n_states": self.states[feature], "n_programs": self.programs[feature]}


@dataclass
class Estimated:
    """Estimates by key and column, and by key what they were counted from."""

    estimates: dict[Hashable, dict[str, Estimate]] = field(default_factory=dict)
    counts: dict[Hashable, Counts] = field(default_factory=dict)

    def add(self, key: Hashable, content: Content, settings: Settings) -> None:
        """A set of states."""
        self.estimates[key] = estimates_of(content, settings)
        self.counts[key] = Counts.of(content)

    def add_compared(self, key: Hashable, compared: Compared, settings: Settings) -> None:
        """Two semantics on a set of states."""
        both = compared.original, compared.alternative
        sides = dict(zip(("original", "alternative"), (estimates_of(one, settings) for one in both), strict=True))
        columns = {name: sides[side][column] for name, (side, column) in SIDES.items()}
        for name, column in DIFFERENCES.items():
            values = getattr(both[0], column) - getattr(both[1], column)
            columns[name] = _estimate(values, both[0], settings, intervals.ANY)
        self.estimates[key] = columns
        self.counts[key] = Counts.of(both[0], compared.labels)


def borrowed(by_step: Mapping[int, Estimated]) -> dict[int, Estimated]:
    """The same of one language model, with the variance over fits of neighbouring steps (`intervals.borrow`)."""
    estimates = intervals.borrow({step: one.estimates for step, one in by_step.items()})
    return {step: replace(one, estimates=estimates[step]) for step, one in by_step.items()}


def estimates_of(content: Content, settings: Settings) -> dict[str, Estimate]:
    """Estimates (F + 1, D) of the columns `CONTENT`, that of the majority class (F + 1, 1)."""
    values = content.accuracy, content.majority[..., None], content.corrected
    return {name: _estimate(one, content, settings, WITHIN[name]) for name, one in zip(CONTENT, values, strict=True)}


def _estimate(values: np.ndarray, content: Content, settings: Settings, within: tuple[float, float]) -> Estimate:
    return intervals.estimate(values, settings.statistics.confidence, content.programs[:, None], within)


def validation_estimate(fit: Fits, test: Estimate, states: np.ndarray) -> Estimate:
    """Validation accuracy of probes, (F + 1, D).

    Only their accuracies are known. Validation specifications are drawn as test ones are, so the
    variance over programs is that of the test accuracy, for the number of validation states.
    """
    scale = states[:, None] / fit.n_validation
    seeds = len(fit.validation)
    return replace(
        test,
        value=fit.validation.mean(axis=0),
        below=test.below * scale**0.5,
        above=test.above * scale**0.5,
        programs=test.programs * scale,
        crossed=test.crossed * scale,
        units=fit.validation.var(axis=0, ddof=1) / seeds if seeds > 1 else test.units,
    )


def rows_of(columns: dict[str, Estimate], settings: Settings) -> Iterator[tuple[tuple[int, int], dict]]:
    """A row for each depth and feature, with estimate and interval of every column; before it, feature and depth."""
    shape = len(settings.features) + 1, len(settings.depths)
    names, values = [], []
    for name, estimate in columns.items():
        names += [name, *ENDS.get(name, (f"{name}_low", f"{name}_high"))]
        values += [np.broadcast_to(one, shape) for one in (estimate.value, *estimate.interval())]
    cells = np.stack(values, axis=-1).tolist()
    for d, depth in enumerate(settings.depths):
        for f, feature in enumerate((*settings.features, MEAN)):
            yield (f, d), {"depth": depth, "feature": feature} | dict(zip(names, cells[f][d], strict=True))
