"""Semantic content: how much the probes of one checkpoint read, with the replicates of the bootstrap.

How they become intervals is said in `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progsem.artifacts import read_csv
from progsem.features import corrected_accuracy
from progsem.measures import bootstrap, labels
from progsem.measures.results import ORIGINAL, SOURCES, Checkpoint, Outcomes, Settings, read_outcomes


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


def program_weights(settings: Settings) -> np.ndarray:
    """How often each test program is drawn, float32 (1 + R, test): one set of draws, so that all results are paired."""
    rng = np.random.default_rng([settings.statistics.seed, 0])
    return bootstrap.resampling_weights(settings.test, settings.statistics.resamples, rng)


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


def pool_pairs(pairs: list[tuple[Content, Content, Labels]]) -> tuple[Content, Content, Labels]:
    """Both sides pooled, and the means of what is said of their labels."""
    firsts, seconds, about = zip(*pairs, strict=True)
    means = {name: np.mean([vars(one)[name] for one in about], axis=0) for name in vars(about[0])}
    return pool(list(firsts)), pool(list(seconds)), Labels(**means)


def checkpoint_contents(
    checkpoint: Checkpoint, settings: Settings, weights: np.ndarray, rows: np.ndarray
) -> tuple[dict, dict, dict]:
    """Semantic content of one checkpoint.

    Returns contents by (semantics, source, offset, states); pairs (original, alternative, Labels) by
    (alternative, source, offset, states), those of the states that differ among them; and what accuracy.csv says
    by (semantics, source). Pairs of drawn permutations are there where these are probed.
    """
    original = read_outcomes(checkpoint.predictions[ORIGINAL], settings, rows)
    chosen = state_sets(original, settings.probes.offsets, settings)
    contents = contents_of(original, {(ORIGINAL, *key): mask for key, mask in chosen.items()}, settings, weights)
    entropy = {key: labels.entropies(original, mask, settings) for key, mask in chosen.items()}
    fits = probe_fits(ORIGINAL, checkpoint.accuracy[ORIGINAL], settings)
    pairs = {}
    drawn = [name for pair in settings.permutations for name in pair if name in checkpoint.predictions]
    for name in (*settings.alternatives, *drawn):
        offsets = settings.interventions.offsets if name in settings.alternatives else (0,)
        outcome = read_outcomes(checkpoint.predictions[name], settings, rows)
        here = state_sets(outcome, offsets, settings)
        first, second = differing(original, outcome, settings)
        unlike = {
            side: {key: mask & where for key, mask in sets.items() if key[2] == settings.states[0]}
            for side, sets, where in ((0, chosen, first), (1, here, second))
        }
        # One call for all, see there.
        measured = contents_of(outcome, here | {(*key, 1): mask for key, mask in unlike[1].items()}, settings, weights)
        of_original = contents_of(original, unlike[0], settings, weights)
        for key, mask in here.items():
            if key in measured and (ORIGINAL, *key) in contents:
                about = Labels(
                    entropy[key],
                    labels.entropies(outcome, mask, settings),
                    labels.shares_differing(original, outcome, chosen[key], settings),
                )
                pairs[name, *key] = (*comparable(contents[ORIGINAL, *key], measured[key]), about)
        for key, mask in unlike[0].items():
            if key in of_original and (*key, 1) in measured:
                about = Labels(
                    labels.entropies(original, mask, settings),
                    labels.entropies(outcome, unlike[1][key], settings),
                    labels.shares_differing(original, outcome, mask, settings),
                )
                pairs[name, *key[:2], "differing"] = (*comparable(of_original[key], measured[*key, 1]), about)
        if name in settings.alternatives:
            contents |= {(name, *key): measured[key] for key in here if key in measured}
            fits |= probe_fits(name, checkpoint.accuracy[name], settings)
    return contents, pairs, fits


def state_sets(outcome: Outcomes, offsets: Sequence[int], settings: Settings) -> dict[tuple, np.ndarray]:
    """Which states belong to each (source, offset, states), (N, F) bool."""
    sets = {}
    for source in settings.sources:
        for offset in sorted(offsets):
            here = (outcome.source == SOURCES.index(source)) & (outcome.offset == offset)
            for states in settings.states:
                chosen = here if states == "all" else here & ~outcome.final
                sets[source, offset, states] = chosen[:, None].repeat(len(settings.features), axis=1)
    return sets


def contents_of(
    outcome: Outcomes, groups: dict[Hashable, np.ndarray], settings: Settings, weights: np.ndarray
) -> dict[Hashable, Content]:
    """Semantic content of each group of states, given as (N, F) bool; groups without states have none.

    `weights` (1 + R, test) are those of the test programs.
    """
    groups = {key: chosen for key, chosen in groups.items() if chosen.any()}
    if not groups:
        return {}
    sums = [cluster_sums(outcome, chosen, settings.test) for chosen in groups.values()]
    # One matrix product for all is many times faster than one for each.
    counted = bootstrap.totals(weights, np.stack(sums, axis=1))
    return {
        key: content_of(counted[:, index], (sums[index][:, :, 0] > 0).sum(axis=0), settings.probes.seeds)
        for index, key in enumerate(groups)
    }


def cluster_sums(outcome: Outcomes, chosen: np.ndarray, clusters: int) -> np.ndarray:
    """Counts per program over the chosen states: float64 (clusters, F, 2 + D * S).

    `chosen` is (N, F) bool. The last axis holds the number of states, on how
    many the majority class is right, and on how many the probe of each depth and
    probe seed is.
    """
    rows = np.flatnonzero(chosen.any(axis=1))
    majority, right = outcome.majority[rows], outcome.right[rows]
    answers = right.reshape(*right.shape[:2], -1)
    columns = np.concatenate([np.ones_like(majority)[..., None], majority[..., None], answers], axis=2)
    flat = (columns & chosen[rows][..., None]).reshape(len(rows), -1)
    cluster = outcome.cluster[rows]
    summed = [np.bincount(cluster, weights=column, minlength=clusters) for column in flat.T]
    return np.stack(summed, axis=1).reshape(clusters, *columns.shape[1:])


def content_of(counted: np.ndarray, programs: np.ndarray, seeds: int) -> Content:
    """Semantic content from totals (1 + R, F, 2 + D * S) of `cluster_sums`; units are the S probe seeds.

    `programs` (F,) counts programs.
    """
    states = counted[..., 0]
    majority = bootstrap.ratio(counted[..., 1], states)[:, None]
    right = counted[..., 2:].reshape(*states.shape, -1, seeds).transpose(0, 3, 1, 2)
    accuracy = bootstrap.ratio(right, states[:, None, :, None])
    return Content(
        with_mean(accuracy),
        with_mean(majority),
        with_mean(corrected_accuracy(accuracy, majority[..., None])),
        np.append(states[0], states[0].max()).astype(int),
        np.append(programs, programs.max()),
    )


def with_mean(values: np.ndarray) -> np.ndarray:
    """(1 + R, U, F, …) with the mean over the features that are defined in the estimate appended."""
    defined = np.isfinite(values[0]).all(axis=0).reshape(values.shape[2], -1).all(axis=1)
    if not defined.any():
        return np.concatenate([values, np.full_like(values[:, :, :1], np.nan)], axis=2)
    return np.concatenate([values, values[:, :, defined].mean(axis=2, keepdims=True)], axis=2)


def comparable(original: Content, alternative: Content) -> tuple[Content, Content]:
    """Both with means over the same features: those that are defined under both semantics, in all units.

    Where the majority class is always right under one of them, the corrected
    accuracy of that feature is undefined and leaves both means. The two need not
    have the same number of units.
    """
    first, second = (np.isfinite(one.corrected[0, :, :-1]).all(axis=0) for one in (original, alternative))
    defined = first & second
    sides = []
    for content in (original, alternative):
        corrected = np.where(defined, content.corrected[:, :, :-1], np.nan)
        sides.append(
            Content(content.accuracy, content.majority, with_mean(corrected), content.states, content.programs)
        )
    return sides[0], sides[1]


def differing(original: Outcomes, alternative: Outcomes, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """States whose label differs under the two semantics, feature by feature.

    Returns (N, F) bool for the original's rows and for the alternative's. A
    state that only one of them has (control flow may take another way) is in neither.
    """
    in_first, in_second = rows = labels.common_states(original, alternative)
    unlike = labels.unlike(original, alternative, rows, settings)
    chosen = np.zeros(original.majority.shape, dtype=bool), np.zeros(alternative.majority.shape, dtype=bool)
    chosen[0][in_first], chosen[1][in_second] = unlike, unlike
    return chosen


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
