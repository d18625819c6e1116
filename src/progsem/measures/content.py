"""Semantic content: how much the probes of one checkpoint read, with the replicates of the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progsem.artifacts import read_csv
from progsem.features import corrected_accuracy
from progsem.measures import bootstrap
from progsem.measures.results import MEAN, ORIGINAL, SOURCES, Checkpoint, Outcomes, Settings, read_outcomes


@dataclass(frozen=True)
class Content:
    """Semantic content of one set of states, estimate and replicates along the first axis (1 + R).

    accuracy and corrected: (1 + R, F + 1, D), majority: (1 + R, F + 1); the last
    feature is the mean over features. states, programs: (F + 1,) counts.
    """

    accuracy: np.ndarray
    majority: np.ndarray
    corrected: np.ndarray
    states: np.ndarray
    programs: np.ndarray


def in_all(dictionaries: list[dict]) -> list:
    """Keys that every dictionary has, in the order of the first."""
    return [key for key in dictionaries[0] if all(key in other for other in dictionaries)]


def average(values: list[np.ndarray], models: np.ndarray) -> np.ndarray:
    """Mean over LM seeds of (1 + R, …) values, each resample with its own draw of LM seeds."""
    shape = (-1,) + (1,) * (values[0].ndim - 1)
    # A seed that was not drawn must not spoil the mean, even where its own value is undefined.
    parts = [
        np.where((weight := models[:, which].reshape(shape)) > 0, weight * value, 0.0)
        for which, value in enumerate(values)
    ]
    return sum(parts) / len(values)


def pool(contents: list[Content], models: np.ndarray) -> Content:
    """Mean over LM seeds of their semantic content; states and programs are summed."""
    return Content(
        accuracy=average([one.accuracy for one in contents], models),
        majority=average([one.majority for one in contents], models),
        corrected=average([one.corrected for one in contents], models),
        states=sum(one.states for one in contents),
        programs=sum(one.programs for one in contents),
    )


def checkpoint_contents(
    checkpoint: Checkpoint, settings: Settings, weights: np.ndarray, fits: np.ndarray, rows: np.ndarray
) -> tuple[dict, dict, dict]:
    """Semantic content of one checkpoint.

    Returns contents by (semantics, source, offset, states); pairs (original,
    alternative) of the states that differ, by (alternative, source, states);
    and per (semantics, source, depth, feature) what accuracy.csv and the probe
    seeds add to the rows of offset 0.
    """
    outcomes = {
        semantics: read_outcomes(checkpoint.predictions[semantics], settings, rows)
        for semantics in (ORIGINAL, *settings.alternatives)
    }
    # All sums go through one matrix product, which is many times faster than one for each.
    keys, sums, programs = [], [], []

    def add(key, outcome: Outcomes, chosen: np.ndarray) -> None:
        if chosen.any():
            keys.append(key)
            sums.append(cluster_sums(outcome, chosen, settings.test))
            programs.append((sums[-1][:, :, 0] > 0).sum(axis=0))

    for semantics, outcome in outcomes.items():
        for source in settings.sources:
            # Alternatives are compared at offset 0 only.
            for offset in sorted(settings.probes.offsets) if semantics == ORIGINAL else (0,):
                here = (outcome.source == SOURCES.index(source)) & (outcome.offset == offset)
                for states in settings.states:
                    chosen = here if states == "all" else here & ~outcome.final
                    add((semantics, source, offset, states), outcome, chosen[:, None].repeat(len(settings.features), 1))
    for alternative in settings.alternatives:
        first, second = differing(outcomes[ORIGINAL], outcomes[alternative], settings)
        for source in settings.sources:
            for side, (outcome, chosen) in enumerate(
                ((outcomes[ORIGINAL], first), (outcomes[alternative], second)),
            ):
                of_source = (outcome.source == SOURCES.index(source))[:, None]
                add((alternative, source, side), outcome, chosen & of_source)
    contents, pairs = {}, {}
    if keys:
        counted = bootstrap.totals(weights, np.stack(sums, axis=1))
        for index, key in enumerate(keys):
            contents[key] = content_of(counted[:, index], programs[index], fits)
    for alternative in settings.alternatives:
        for source in settings.sources:
            for states in settings.states:
                key = (alternative, source, 0, states)
                original = (ORIGINAL, source, 0, states)
                if key in contents and original in contents:
                    pairs[alternative, source, states] = comparable(contents[original], contents[key])
            if (alternative, source, 0) in contents and (alternative, source, 1) in contents:
                pairs[alternative, source, "differing"] = comparable(
                    contents.pop((alternative, source, 0)), contents.pop((alternative, source, 1))
                )
    extras = {}
    for semantics, outcome in outcomes.items():
        extras |= probe_extras(semantics, outcome, checkpoint.accuracy[semantics], settings)
    return contents, pairs, extras


def cluster_sums(outcome: Outcomes, chosen: np.ndarray, clusters: int) -> np.ndarray:
    """Counts per program over the chosen states: float64 (clusters, F, 2 + D * S).

    `chosen` is (N, F) bool. The last axis holds the number of states, on how
    many the majority class is right, and on how many the probe of each depth and
    probe seed is.
    """
    columns = np.concatenate([np.ones_like(outcome.majority[..., None]), outcome.majority[..., None]], axis=2)
    answers = outcome.right.reshape(*outcome.right.shape[:2], -1)
    columns = np.concatenate([columns, answers], axis=2) * chosen[..., None]
    rows = chosen.any(axis=1)
    flat, cluster = columns[rows].reshape(rows.sum(), -1), outcome.cluster[rows]
    summed = [np.bincount(cluster, weights=column, minlength=clusters) for column in flat.T]
    return np.stack(summed, axis=1).reshape(clusters, *columns.shape[1:])


def content_of(counted: np.ndarray, programs: np.ndarray, fits: np.ndarray) -> Content:
    """Semantic content from totals (1 + R, F, 2 + D * S) of `cluster_sums`.

    `programs` (F,) counts programs, `fits` (1 + R, S) weighs the probe seeds.
    """
    states, seeds = counted[..., 0], fits.shape[1]
    majority = bootstrap.ratio(counted[..., 1], states)
    right = counted[..., 2:].reshape(*states.shape, -1, seeds) @ fits[:, None, :, None]
    accuracy = bootstrap.ratio(right[..., 0], seeds * states[..., None])
    corrected = corrected_accuracy(accuracy, majority[..., None])
    return Content(
        with_mean(accuracy),
        with_mean(majority),
        with_mean(corrected),
        np.append(states[0], states[0].max()).astype(int),
        np.append(programs, programs.max()),
    )


def with_mean(values: np.ndarray) -> np.ndarray:
    """(1 + R, F, …) with the mean over the features that are defined in the estimate appended: (1 + R, F + 1, …)."""
    defined = np.isfinite(values[0]).reshape(values.shape[1], -1).all(axis=1)
    if not defined.any():
        return np.concatenate([values, np.full_like(values[:, :1], np.nan)], axis=1)
    return np.concatenate([values, values[:, defined].mean(axis=1, keepdims=True)], axis=1)


def comparable(original: Content, alternative: Content) -> tuple[Content, Content]:
    """Both with means over the same features: those that are defined under both semantics.

    Where the majority class is always right under one of them, the corrected
    accuracy of that feature is undefined and leaves both means.
    """
    defined = np.isfinite(original.corrected[0, :-1]) & np.isfinite(alternative.corrected[0, :-1])
    sides = []
    for content in (original, alternative):
        corrected = np.where(defined, content.corrected[:, :-1], np.nan)
        sides.append(
            Content(content.accuracy, content.majority, with_mean(corrected), content.states, content.programs)
        )
    return sides[0], sides[1]


def differing(original: Outcomes, alternative: Outcomes, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """States at offset 0 whose label differs under the two semantics, feature by feature.

    Returns (N, F) bool for the original's rows and for the alternative's. A
    state that only one of them has (control flow may take another way) is in neither.
    """

    def keys(outcome: Outcomes) -> np.ndarray:
        parts = (outcome.source, outcome.cluster, outcome.statement)
        key = np.zeros(len(outcome.source), dtype=np.int64)
        for part in parts:
            key = key * 100_000 + part
        return np.where(outcome.offset == 0, key, -1 - np.arange(len(key)))

    first, second = keys(original), keys(alternative)
    common, in_first, in_second = np.intersect1d(first, second, return_indices=True)
    in_first, in_second = in_first[common >= 0], in_second[common >= 0]
    chosen = np.zeros(original.majority.shape, dtype=bool), np.zeros(alternative.majority.shape, dtype=bool)
    for index, feature in enumerate(settings.features):
        unlike = (original.labels[feature][in_first] != alternative.labels[feature][in_second]).any(axis=1)
        chosen[0][in_first[unlike], index] = True
        chosen[1][in_second[unlike], index] = True
    return chosen


def probe_extras(semantics: str, outcome: Outcomes, table: Path, settings: Settings) -> dict:
    """By (semantics, source, depth, feature): validation accuracy, training states, spread over probe seeds."""
    extras = {}
    rows = [row for row in read_csv(table) if int(row["offset"]) == 0]
    for source in settings.sources:
        for depth in settings.depths:
            per_seed = []
            for feature in settings.features:
                here = [
                    row for row in rows if (row["source"], row["depth"], row["feature"]) == (source, depth, feature)
                ]
                if not here:
                    continue
                accuracies = [float(row["test_accuracy"]) for row in here]
                per_seed.append(accuracies)
                extras[semantics, source, depth, feature] = {
                    "validation_accuracy": np.mean([float(row["validation_accuracy"]) for row in here]),
                    "n_train": int(here[0]["n_train"]),
                    "probe_seed_sd": np.std(accuracies, ddof=1) if len(accuracies) > 1 else None,
                }
            if len(per_seed) == len(settings.features) and outcome.right.shape[-1] > 1:
                extras[semantics, source, depth, MEAN] = {"probe_seed_sd": np.std(np.mean(per_seed, axis=0), ddof=1)}
    return extras
