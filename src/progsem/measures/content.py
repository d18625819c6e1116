"""Semantic content: how much the probes of one checkpoint read, with the replicates of the bootstrap.

How they become intervals is said in `intervals`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from progsem.measures import labels
from progsem.measures.intervals import quotient
from progsem.measures.resampling import Resamples
from progsem.measures.results import Checkpoint, Outcomes, Settings, read_outcomes
from progsem.storage.files import read_csv
from progsem.study.vocabulary import ORIGINAL, SOURCES

DIFFERING = "differing"  # the states whose label is another one under an alternative


class StateSet(NamedTuple):
    """Which states: of which programs, at how many statements from the world that is read, and which of these."""

    source: str
    offset: int
    states: str


class ContentKey(NamedTuple):
    """What content is of; of a pair of semantics, `semantics` is the alternative."""

    semantics: str
    source: str
    offset: int
    states: str


@dataclass(frozen=True)
class Content:
    """Semantic content of one set of states, estimate and replicates along the first axis, U units along the second.

    Units are the probes of one language model, one a probe seed, or several language models. accuracy and
    corrected: (1 + R, U, F + 1, D), majority: (1 + R, U, F + 1); the last feature is the mean over features.
    states, programs: (F + 1,) counts.
    """

    accuracy: np.ndarray
    majority: np.ndarray
    corrected: np.ndarray
    states: np.ndarray
    programs: np.ndarray

    @property
    def defined(self) -> np.ndarray:
        """Features (F,) whose corrected accuracy is defined in the data, for all units: bool."""
        return np.isfinite(self.corrected[0, :, :-1]).all(axis=(0, 2))


def in_all(dictionaries: Sequence[dict]) -> list:
    """Keys that every dictionary has, in the order of the first."""
    return [key for key in dictionaries[0] if all(key in other for other in dictionaries)]


def pool(contents: Sequence[Content]) -> Content:
    """Semantic content with the language models as units, each the mean of its probes; counts are summed."""
    means = {
        name: np.stack([getattr(one, name).mean(axis=1) for one in contents], axis=1)
        for name in ("accuracy", "majority", "corrected")
    }
    return Content(**means, states=sum(one.states for one in contents), programs=sum(one.programs for one in contents))


class Labels(NamedTuple):
    """How hard the labels of a pair of semantics are, and how alike: by feature and (last) their mean, (F + 1,).

    Entropies in bits, and the share of states whose label differs (see `labels`).
    """

    entropy_original: np.ndarray
    entropy_alternative: np.ndarray
    share_differing: np.ndarray


class Compared(NamedTuple):
    """Two semantics on the same states, with means over the same features (`comparable`)."""

    original: Content
    alternative: Content
    labels: Labels


def pool_compared(each: Sequence[Compared]) -> Compared:
    """Both sides with the language models as units, and the means of what is said of their labels."""
    originals, alternatives, about = zip(*each, strict=True)
    return Compared(pool(originals), pool(alternatives), Labels(*np.mean(about, axis=0)))


class Read(NamedTuple):
    """What the probes of one checkpoint read under one semantics.

    contents: semantic content of the sets of states that are asked for; compared: the semantics beside the original,
    also on the states whose label differs; fits: what accuracy.csv says, by source.
    """

    semantics: str
    contents: dict[StateSet, Content]
    compared: dict[StateSet, Compared]
    fits: dict[str, Fits]


def read_semantics(checkpoint: Checkpoint, settings: Settings, draws: Resamples, rows: np.ndarray) -> Iterator[Read]:
    """What probes read at one checkpoint: under the original, then each alternative, then the drawn permutations.

    `rows` are the test programs' row numbers. Each is there where it is probed; permutations are only compared.
    """
    original = read_outcomes(checkpoint.predictions[ORIGINAL], settings, rows, checkpoint.offsets)
    sets = state_sets(original, settings.probes.offsets, settings)
    contents = contents_of(original, sets, settings, draws)
    yield Read(ORIGINAL, contents, {}, probe_fits(checkpoint.accuracy[ORIGINAL], settings))
    drawn = [name for pair in settings.permutations for name in pair]
    for name in (name for name in (*settings.alternatives, *drawn) if name in checkpoint.predictions):
        listed = name in settings.alternatives
        outcome = read_outcomes(checkpoint.predictions[name], settings, rows)
        here = state_sets(outcome, settings.interventions.offsets if listed else (0,), settings)
        common = labels.Common.of(original, outcome, settings)
        differing = [key for key in here if key.states == settings.states[0]]
        ours = here | {key._replace(states=DIFFERING): here[key] & common.differs[1] for key in differing}
        theirs = {key._replace(states=DIFFERING): sets[key] & common.differs[0] for key in differing}
        measured = contents_of(outcome, ours, settings, draws)
        beside = contents | contents_of(original, theirs, settings, draws)
        theirs |= {key: sets[key] for key in here}
        compared = compare((original, outcome), (theirs, ours), (beside, measured), common, settings)
        own = {key: content for key, content in measured.items() if listed and key.states != DIFFERING}
        yield Read(name, own, compared, probe_fits(checkpoint.accuracy[name], settings) if listed else {})


def compare(
    outcomes: tuple[Outcomes, Outcomes],
    sets: tuple[dict[StateSet, np.ndarray], dict[StateSet, np.ndarray]],
    contents: tuple[dict[StateSet, Content], dict[StateSet, Content]],
    common: labels.Common,
    settings: Settings,
) -> dict[StateSet, Compared]:
    """Two semantics beside each other on all sets of states that both have; arguments are of one, then the other."""
    compared = {}
    for key in in_all(contents[::-1]):
        chosen = [of_one[key] for of_one in sets]
        bits = [labels.entropies(outcome, here, settings) for outcome, here in zip(outcomes, chosen, strict=True)]
        about = Labels(*bits, common.share_differing(chosen[0]))
        compared[key] = Compared(*comparable(*(one[key] for one in contents)), about)
    return compared


def state_sets(outcome: Outcomes, offsets: Sequence[int], settings: Settings) -> dict[StateSet, np.ndarray]:
    """Which states are in each set, for every feature: (N, F) bool."""
    sets = {}
    for source in settings.sources:
        for offset in sorted(offsets):
            here = (outcome.source == SOURCES.index(source)) & (outcome.offset == offset)
            for states in settings.states:
                chosen = here if states == "all" else here & ~outcome.final
                sets[StateSet(source, offset, states)] = for_all_features(chosen, settings)
    return sets


def for_all_features(chosen: np.ndarray, settings: Settings) -> np.ndarray:
    """States (N,) bool as those that are meant for every feature, (N, F)."""
    return chosen[:, None].repeat(len(settings.features), axis=1)


def contents_of(
    outcome: Outcomes, sets: dict[Hashable, np.ndarray], settings: Settings, draws: Resamples
) -> dict[Hashable, Content]:
    """Semantic content of each set of states, given as (N, F) bool; sets without states have none.

    `draws` are those of the test programs.
    """
    sets = {key: chosen for key, chosen in sets.items() if chosen.any()}
    if not sets:
        return {}
    counts = [count_by_program(outcome, chosen, settings.test) for chosen in sets.values()]
    counted = draws.totals(np.stack(counts, axis=1))  # one product for all is faster than one for each
    return {
        key: content_of(counted[:, index], (of_set[..., 0] > 0).sum(axis=0), settings.probes.seeds)
        for index, (key, of_set) in enumerate(zip(sets, counts, strict=True))
    }


def count_by_program(outcome: Outcomes, chosen: np.ndarray, programs: int) -> np.ndarray:
    """Of the chosen states (N, F) of each program: (programs, F, 2 + D * S) uint16.

    The last axis holds the number of states, on how many the majority class is right, and on how many the probe of
    each depth and seed is.
    """
    rows = np.flatnonzero(chosen.any(axis=1))
    meant = chosen[rows][..., None]
    right = outcome.right[rows].reshape(*meant.shape[:2], -1)
    columns = np.concatenate([meant, meant & outcome.majority[rows][..., None], meant & right], axis=2)
    flat, cluster = columns.reshape(len(rows), -1), outcome.cluster[rows]
    counts = [np.bincount(cluster, weights=column, minlength=programs) for column in flat.T]
    return np.stack(counts, axis=1).astype(np.uint16).reshape(programs, *columns.shape[1:])


def content_of(counted: np.ndarray, programs: np.ndarray, seeds: int) -> Content:
    """Semantic content from totals (1 + R, F, 2 + D * S) of `count_by_program`; units are the S probe seeds.

    `programs` (F,) counts programs.
    """
    states = counted[..., 0]
    majority = quotient(counted[..., 1], states)[:, None]
    right = counted[..., 2:].reshape(*states.shape, -1, seeds).transpose(0, 3, 1, 2)
    accuracy = quotient(right, states[:, None, :, None])
    most_frequent = majority[..., None]
    return Content(
        with_mean(accuracy),
        with_mean(most_frequent)[..., 0],
        with_mean(quotient(accuracy - most_frequent, 1 - most_frequent)),
        np.append(states[0], states[0].max()).astype(int),
        np.append(programs, programs.max()),
    )


def with_mean(values: np.ndarray) -> np.ndarray:
    """(1 + R, U, F, D) with the mean over the features that are defined in the estimate appended."""
    defined = np.isfinite(values[0]).all(axis=(0, 2))
    mean = (
        values[:, :, defined].mean(axis=2, keepdims=True) if defined.any() else np.full_like(values[:, :, :1], np.nan)
    )
    return np.concatenate([values, mean], axis=2)


def comparable(original: Content, alternative: Content) -> tuple[Content, Content]:
    """Both with means over the same features: those that are defined under both semantics, in all units.

    Where the majority class is always right under one of them, the corrected
    accuracy of that feature is undefined and leaves both means. The two need not
    have the same number of units.
    """
    both = original.defined & alternative.defined
    return tuple(
        one
        if (one.defined == both).all()
        else replace(one, corrected=with_mean(np.where(both[:, None], one.corrected[:, :, :-1], np.nan)))
        for one in (original, alternative)
    )


class Fits(NamedTuple):
    """What accuracy.csv says of the probes of one semantics and source at offset 0.

    validation, test: accuracies (S, F + 1, D), the last feature being the mean over features; n_train, n_validation:
    states.
    """

    validation: np.ndarray
    test: np.ndarray
    n_train: int
    n_validation: int


def probe_fits(table: Path, settings: Settings) -> dict[str, Fits]:
    """The fits of one semantics by source; sources without states have none."""
    shape = settings.probes.seeds, len(settings.features), len(settings.depths)
    accuracies, states = {}, {}
    for row in read_csv(table):
        if int(row["offset"]) == 0 and row["feature"] in settings.features and row["depth"] in settings.depths:
            at = int(row["seed"]), settings.features.index(row["feature"]), settings.depths.index(row["depth"])
            both = accuracies.setdefault(row["source"], np.full((2, *shape), np.nan))
            both[:, *at] = float(row["validation_accuracy"]), float(row["test_accuracy"])
            states.setdefault(row["source"], (int(row["n_train"]), int(row["n_validation"])))
    return {
        source: Fits(*np.append(both, both.mean(axis=2, keepdims=True), axis=2), *states[source])
        for source, both in accuracies.items()
        if source in settings.sources
    }
