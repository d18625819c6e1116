"""Semantic content: how much the probes of one checkpoint read, with the replicates of the bootstrap.

How they become intervals is said in `bootstrap`. Contents are made from totals when they are asked
for, and each time anew: the replicates of one set of states fit a core's cache, those of all sets do not, and
to make them takes less long than to read them from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from progsem.measures import answers, labels
from progsem.measures.draws import Draws
from progsem.measures.results import ORIGINAL, SOURCES, Checkpoint, Chosen, Outcomes, Settings, read_outcomes
from progsem.storage.files import read_csv

DIFFERING = "differing"  # the states whose label is another one under an alternative


@dataclass(frozen=True)
class Content:
    """Semantic content of one set of states, estimate and replicates along the first axis, U units along the second.

    Units are the probes of one language model, one a probe seed, or several language models. accuracy and
    corrected: (1 + R, U, F + 1, D), majority: (1 + R, U, F + 1); the last feature is the mean over features.
    states, programs: (F + 1,) counts. All replicates of a number lie side by side in memory.
    """

    accuracy: np.ndarray
    majority: np.ndarray
    corrected: np.ndarray
    states: np.ndarray
    programs: np.ndarray


Deferred = Callable[[], Content]  # to be called when it is used


def in_all(dictionaries: list[dict]) -> list:
    """Keys that every dictionary has, in the order of the first."""
    return [key for key in dictionaries[0] if all(key in other for other in dictionaries)]


def pool(contents: list[Content]) -> Content:
    """Semantic content with the language models as units, each the mean of its probes; counts are summed."""
    return Content(
        accuracy=np.stack([one.accuracy.mean(axis=1) for one in contents], axis=1),
        majority=np.stack([one.majority.mean(axis=1) for one in contents], axis=1),
        corrected=np.stack([one.corrected.mean(axis=1) for one in contents], axis=1),
        states=sum(one.states for one in contents),
        programs=sum(one.programs for one in contents),
    )


@dataclass(frozen=True)
class Labels:
    """How hard the labels of a pair of semantics are, and how alike: by feature and (last) their mean, (F + 1,).

    Entropies in bits, and the share of states whose label differs (see `labels`).
    """

    entropy_original: np.ndarray
    entropy_alternative: np.ndarray
    share_differing: np.ndarray


@dataclass(frozen=True)
class Pair:
    """The original and an alternative on the same states, with means over the same features (`comparable`).

    unchanged: for each of the two, whether its means are over all features that it has by itself.
    """

    contents: tuple[Content, Content]
    unchanged: tuple[bool, bool]
    labels: Labels

    @classmethod
    def of(cls, original: Deferred, alternative: Deferred, labels: Labels) -> Pair:
        """The two, made comparable."""
        by_themselves = original(), alternative()
        contents = comparable(*by_themselves)
        return cls(contents, tuple(one is other for one, other in zip(contents, by_themselves, strict=True)), labels)

    @classmethod
    def pooled(cls, each: list[Callable[[], Pair]]) -> Pair:
        """Both sides with the language models as units, and the means of what is said of their labels."""
        pairs = [one() for one in each]
        about = [vars(pair.labels) for pair in pairs]
        return cls(
            contents=tuple(pool([pair.contents[side] for pair in pairs]) for side in range(2)),
            unchanged=tuple(all(pair.unchanged[side] for pair in pairs) for side in range(2)),
            labels=Labels(**{name: np.mean([one[name] for one in about], axis=0) for name in about[0]}),
        )


def checkpoint_contents(
    checkpoint: Checkpoint, settings: Settings, draws: Draws, rows: np.ndarray
) -> tuple[dict[tuple, Deferred], dict[tuple, Callable[[], Pair]], dict]:
    """Semantic content of one checkpoint.

    Returns contents by (semantics, source, offset, states); pairs by (alternative, source, offset,
    states), those of the states that differ among them; and what accuracy.csv says by (semantics, source). Pairs of
    drawn permutations are there where these are probed.
    """
    original = read_outcomes(checkpoint.predictions[ORIGINAL], settings, rows)
    chosen = state_sets(original, settings.probes.offsets, settings)
    groups = {(ORIGINAL, *key): states for key, states in chosen.items()}
    fits = probe_fits(ORIGINAL, checkpoint.accuracy[ORIGINAL], settings)
    compared = {}
    drawn = [name for pair in settings.permutations for name in pair if name in checkpoint.predictions]
    for name in (*settings.alternatives, *drawn):
        offsets = settings.interventions.offsets if name in settings.alternatives else (0,)
        outcome = read_outcomes(checkpoint.predictions[name], settings, rows)
        here = state_sets(outcome, offsets, settings)
        common = labels.Common.of(original, outcome, settings)
        for key, states in here.items():
            groups[name, *key] = states
            compared[name, *key] = common, chosen[key]
            if key[2] == settings.states[0]:
                of_original, key = chosen[key].where(common.unlike[0]), (*key[:2], DIFFERING)
                groups[ORIGINAL, *key, name], groups[name, *key] = of_original, states.where(common.unlike[1])
                compared[name, *key] = common, of_original
        if name in settings.alternatives:
            fits |= probe_fits(name, checkpoint.accuracy[name], settings)
    measured = contents_of(groups, settings, draws)
    pairs, entropies = {}, {}
    for key, (common, states) in compared.items():
        name, *where = key
        of_original = (ORIGINAL, *where, name) if where[2] == DIFFERING else (ORIGINAL, *where)
        if of_original in measured and key in measured:
            for one in (of_original, key):
                if one not in entropies:  # an original is compared with several alternatives
                    entropies[one] = labels.entropies(groups[one], settings)
            about = Labels(entropies[of_original], entropies[key], common.share_differing(states))
            pairs[key] = partial(Pair.of, measured[of_original], measured[key], about)
    contents = {
        key: content
        for key, content in measured.items()
        if key[0] in (ORIGINAL, *settings.alternatives) and key[3] != DIFFERING
    }
    return contents, pairs, fits


def state_sets(outcome: Outcomes, offsets: Sequence[int], settings: Settings) -> dict[tuple, Chosen]:
    """The states of each (source, offset, states)."""
    sets = {}
    for source in settings.sources:
        for offset in sorted(offsets):
            here = (outcome.source == SOURCES.index(source)) & (outcome.offset == offset)
            for states in settings.states:
                sets[source, offset, states] = Chosen.of(outcome, here if states == "all" else here & ~outcome.final)
    return sets


def contents_of(groups: dict[Hashable, Chosen], settings: Settings, draws: Draws | None) -> dict[Hashable, Deferred]:
    """Semantic content of each group of states; groups without states have none.

    `draws` are those of the test programs; without them there are no replicates.
    """
    groups = {key: group for key, group in groups.items() if group.features.any()}
    if not groups:
        return {}
    columns = 2 + len(settings.depths) * settings.probes.seeds
    counts = np.zeros((len(groups), len(settings.features), columns, settings.test), np.uint16)
    for of_group, (outcome, rows, features) in zip(counts, groups.values(), strict=True):
        answers.count(outcome.cluster, rows, features, outcome.majority, outcome.right, of_group)
    # All at once, as the same counts are added only once.
    counted = totals(np.moveaxis(counts, -1, 0), draws)
    programs = (counts[:, :, 0] > 0).sum(axis=2)
    return {
        key: partial(content_of, counted[:, index], programs[index], settings.probes.seeds)
        for index, key in enumerate(groups)
    }


def totals(sums: np.ndarray, draws: Draws | None) -> np.ndarray:
    """Totals (1 + R, …) of (C, …) counts per program, those of the data first; without draws only those."""
    return sums.sum(axis=0)[None] if draws is None else draws.totals(sums)


def content_of(counted: np.ndarray, programs: np.ndarray, seeds: int) -> Content:
    """Semantic content from totals (1 + R, F, 2 + D * S) of `answers.count`; units are the S probe seeds.

    `programs` (F,) counts programs.
    """
    flat = np.ascontiguousarray(np.moveaxis(counted, 0, -1))
    features, columns, replicates = flat.shape
    accuracy, corrected = (np.empty((seeds, features + 1, (columns - 2) // seeds, replicates)) for _ in range(2))
    majority = np.empty((1, features + 1, 1, replicates))
    answers.accuracies(flat, accuracy, majority[0, :, 0], corrected)
    for values in (accuracy, majority, corrected):
        _average(values)
    states = counted[0, :, 0]
    return Content(
        np.moveaxis(accuracy, -1, 0),
        np.moveaxis(majority[:, :, 0], -1, 0),
        np.moveaxis(corrected, -1, 0),
        np.append(states, states.max()).astype(int),
        np.append(programs, programs.max()),
    )


def with_mean(values: np.ndarray) -> np.ndarray:
    """(1 + R, U, F, D) with the mean over the features that are defined in the estimate appended."""
    flat = np.moveaxis(values, 0, -1)
    units, features, depths, replicates = flat.shape
    filled = np.empty((units, features + 1, depths, replicates))
    filled[:, :features] = flat
    _average(filled)
    return np.moveaxis(filled, -1, 0)


def _average(values: np.ndarray) -> None:
    """Write into the last feature of (U, F + 1, D, 1 + R) the mean over those that are defined in the estimate."""
    answers.average(values, np.isfinite(values[:, :-1, :, 0]).all(axis=(0, 2)))


def comparable(original: Content, alternative: Content) -> tuple[Content, Content]:
    """Both with means over the same features: those that are defined under both semantics, in all units.

    Where the majority class is always right under one of them, the corrected
    accuracy of that feature is undefined and leaves both means. The two need not
    have the same number of units.
    """
    sides = original, alternative
    each = [np.isfinite(one.corrected[0, :, :-1]).all(axis=(0, 2)) for one in sides]
    defined = each[0] & each[1]
    return tuple(
        one
        if (own == defined).all()
        else replace(one, corrected=with_mean(np.where(defined[:, None], one.corrected[:, :, :-1], np.nan)))
        for one, own in zip(sides, each, strict=True)
    )


@dataclass(frozen=True)
class Fits:
    """What accuracy.csv says of the probes of one semantics and source at offset 0.

    validation, test: accuracies (S, F + 1, D), the last feature being the mean over features; n_train, n_validation:
    states.
    """

    validation: np.ndarray
    test: np.ndarray
    n_train: int
    n_validation: int


def probe_fits(semantics: str, table: Path, settings: Settings) -> dict[tuple[str, str], Fits]:
    """The fits of one semantics by (semantics, source); sources without states have none."""
    at_zero = [row for row in read_csv(table) if int(row["offset"]) == 0]
    fits = {}
    for source in settings.sources:
        rows = {(row["feature"], row["depth"], int(row["seed"])): row for row in at_zero if row["source"] == source}
        if not rows:
            continue
        accuracies = [
            np.array(
                [
                    [
                        [float(rows[feature, depth, seed][column]) for depth in settings.depths]
                        for feature in settings.features
                    ]
                    for seed in range(settings.probes.seeds)
                ]
            )
            for column in ("validation_accuracy", "test_accuracy")
        ]
        validation, test = (np.append(each, each.mean(axis=1, keepdims=True), axis=1) for each in accuracies)
        first = next(iter(rows.values()))
        fits[semantics, source] = Fits(validation, test, int(first["n_train"]), int(first["n_validation"]))
    return fits
