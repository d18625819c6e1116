"""Rows of the tables on semantic content, and of the original semantics against the alternatives.

First estimates are made of every checkpoint, by key; the last part of a key is the column of the table. When those of
all checkpoints are there (`bootstrap.borrow` needs them), they become rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.bootstrap import Estimate
from progsem.measures.content import Content, Deferred, Fits, Labels, Pair
from progsem.measures.results import MEAN, ORIGINAL, Settings

CONTENT = ("accuracy", "majority", "corrected")
# Columns of pairs of semantics: of which side (0 the original, 1 the alternative), or the difference of the two.
SIDES = {
    "raw_original": (0, "accuracy"),
    "raw_alternative": (1, "accuracy"),
    "majority_original": (0, "majority"),
    "majority_alternative": (1, "majority"),
    "original": (0, "corrected"),
    "alternative_content": (1, "corrected"),
}
DIFFERENCES = {"raw_difference": "accuracy", "difference": "corrected"}
PAIRED = (*SIDES, *DIFFERENCES)
# What values these columns can take; differences can take any.
WITHIN = {"accuracy": bootstrap.SHARE, "majority": bootstrap.SHARE, "corrected": bootstrap.CORRECTED}
# Columns of an interval that are not called after that of the estimate.
ENDS = {"difference": ("ci_low", "ci_high"), "raw_difference": ("raw_ci_low", "raw_ci_high")}


@dataclass(frozen=True)
class Counts:
    """What a set of states consists of, by feature and (last) for their mean: states and programs (F + 1,).

    `features`: how many the mean is taken over; `labels`: of pairs of semantics.
    """

    states: np.ndarray
    programs: np.ndarray
    features: int
    labels: Labels | None = None

    @classmethod
    def of(cls, content: Content) -> Counts:
        """Those of a semantic content."""
        defined = np.isfinite(content.corrected[0, :, :-1]).all(axis=(0, 2))
        return cls(content.states, content.programs, int(defined.sum()))

    def at(self, feature: int) -> dict:
        """The columns n_states and n_programs of a feature's row."""
        return {"n_states": self.states[feature], "n_programs": self.programs[feature]}


def content_estimates(
    contents: dict[tuple, Deferred], pairs: dict[tuple, Callable[[], Pair]], fits: dict, settings: Settings
) -> tuple[dict[tuple, Estimate], dict[tuple, Counts]]:
    """Estimates (F + 1, D) of one checkpoint by key and column, those of majority classes (F + 1, 1); counts by key."""
    estimates, counts = {}, {}
    for key, deferred in contents.items():
        content = deferred()
        counts[key] = Counts.of(content)
        estimates |= {(*key, name): one for name, one in estimates_of(content, settings).items()}
    for (alternative, *where), deferred in pairs.items():
        pair, key = deferred(), ("pair", alternative, *where)
        counts[key] = replace(Counts.of(pair.contents[0]), labels=pair.labels)
        sides = []
        for semantics, content, unchanged in zip((ORIGINAL, alternative), pair.contents, pair.unchanged, strict=True):
            by_itself = semantics, *where
            known = {name: estimates[*by_itself, name] for name in CONTENT} if by_itself in contents else None
            sides.append(known if known and unchanged else estimates_of(content, settings))
        columns = {name: sides[side][column] for name, (side, column) in SIDES.items()}
        for name, column in DIFFERENCES.items():
            values = getattr(pair.contents[0], column) - getattr(pair.contents[1], column)
            columns[name] = _estimate(name, values, pair.contents[0], settings)
        estimates |= {(*key, name): columns[name] for name in PAIRED}
    for (semantics, source), fit in fits.items():
        key = semantics, source, 0, settings.states[0]
        if key in counts:
            test = estimates[*key, "accuracy"]
            estimates[*key, "validation_accuracy"] = validation_estimate(fit, test, counts[key].states)
    return estimates, counts


def estimates_of(content: Content, settings: Settings) -> dict[str, Estimate]:
    """Estimates (F + 1, D) of the columns `CONTENT`, that of the majority class (F + 1, 1)."""
    values = content.accuracy, content.majority[..., None], content.corrected
    return {name: _estimate(name, one, content, settings) for name, one in zip(CONTENT, values, strict=True)}


def _estimate(name: str, values: np.ndarray, content: Content, settings: Settings) -> Estimate:
    return bootstrap.estimate(
        values,
        settings.statistics.confidence,
        clusters=content.programs[:, None],
        within=WITHIN.get(name, bootstrap.ANY),
    )


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


def add_content_rows(tables: dict, at: dict, estimates: dict, counts: dict, fits: dict, settings: Settings) -> None:
    """Append the rows of one checkpoint to the tables `probes` and `offsets`."""
    keys = [key for key in counts if key[0] != "pair"]
    fitted = {key: fits.get(key[:2]) if key[2:] == (0, settings.states[0]) else None for key in keys}
    columns = [(*CONTENT, "validation_accuracy") if fitted[key] else CONTENT for key in keys]
    tabulated = rows_of_each(
        [{name: estimates[*key, name] for name in names} for key, names in zip(keys, columns, strict=True)], settings
    )
    for key, found in zip(keys, tabulated, strict=True):
        semantics, source, offset, states = key
        fit, extra = fitted[key], {}
        if fit:
            extra = {"n_train": fit.n_train, "n_validation": fit.n_validation}
        where = at | {"semantics": semantics, "source": source, "states": states}
        where |= {"n_probe_seeds": settings.probes.seeds}
        rows = []
        for (f, d), row in found:
            row |= where | counts[key].at(f) | extra
            if fit and len(fit.test) > 1:
                row["probe_seed_sd"] = fit.test[:, f, d].std(ddof=1)
            rows.append(row)
        if offset == 0:
            tables["probes"] += rows
        if semantics == ORIGINAL:
            tables["offsets"] += [row | {"offset": offset} for row in rows]


def add_alternative_rows(tables: dict, at: dict, estimates: dict, counts: dict, settings: Settings) -> None:
    """Append the rows of one checkpoint to the table `alternatives`.

    Holm's family are the alternatives of one kind: those of the config, or the drawn permutations.
    """
    drawn = [name for pair in settings.permutations for name in pair]
    for source in settings.sources:
        for offset in sorted(settings.interventions.offsets):
            for states in (*settings.states, "differing"):
                for family, names in (("named", settings.alternatives), ("permutation", drawn)):
                    keys = [("pair", name, source, offset, states) for name in names]
                    keys = [key for key in keys if key in counts]
                    where = at | {"source": source, "offset": offset, "states": states, "family": family}
                    tables["alternatives"] += _family(where, keys, estimates, counts, settings)


def _family(where: dict, keys: list[tuple], estimates: dict, counts: dict, settings: Settings) -> list[dict]:
    if not keys:
        return []
    differences = [estimates[*key, "difference"] for key in keys]
    p = np.moveaxis(bootstrap.together(differences, differences[0].value.shape).p_value(), 0, -1)
    adjusted = bootstrap.holm(p)
    rows = []
    tabulated = rows_of_each([{name: estimates[*key, name] for name in PAIRED} for key in keys], settings)
    for index, (key, found) in enumerate(zip(keys, tabulated, strict=True)):
        count = counts[key]
        for (f, d), row in found:
            rows.append(
                row
                | where
                | {
                    "alternative": key[1],
                    "difficulty_matched": key[1] == settings.interventions.difficulty_matched,
                    "p": p[f, d, index],
                    "p_holm": adjusted[f, d, index],
                    "n_features": count.features if row["feature"] == MEAN else 1,
                    **count.at(f),
                }
                | {name: values[f] for name, values in vars(count.labels).items()}
            )
    return rows


Rows = list[tuple[tuple[int, int], dict]]


def rows_of(columns: dict[str, Estimate], settings: Settings) -> Rows:
    """A row for each depth and feature, with estimate and interval of every column; before it, its indices."""
    return next(rows_of_each([columns], settings))


def rows_of_each(many: list[dict[str, Estimate]], settings: Settings) -> Iterator[Rows]:
    """`rows_of` of each of these; the intervals of all are made at once, which takes little longer than one's."""
    if not many:  # of a checkpoint without states
        return
    shape = len(settings.features) + 1, len(settings.depths)
    together = bootstrap.together([one for columns in many for one in columns.values()], shape)
    values = iter(np.stack([together.value, *together.interval()], axis=-1).tolist())
    for columns in many:
        names = [(name, *ENDS.get(name, (f"{name}_low", f"{name}_high"))) for name in columns]
        ours = list(islice(values, len(names)))
        yield [
            (
                (f, d),
                {"depth": depth, "feature": feature}
                | {
                    name: value
                    for keys, column in zip(names, ours, strict=True)
                    for name, value in zip(keys, column[f][d], strict=True)
                },
            )
            for d, depth in enumerate(settings.depths)
            for f, feature in enumerate((*settings.features, MEAN))
        ]
