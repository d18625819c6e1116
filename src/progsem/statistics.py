"""From traces and probe predictions to numbers with intervals.

What is reported, for each language model (LM seed) and checkpoint:

generative accuracy
    Share of test specifications whose greedily decoded program satisfies every
    shown world; strict: the held-out worlds as well; unconstrained: decoded
    without the grammar.
semantic content
    Mean over features of the probes' test accuracy at offset 0 under the
    original semantics, averaged over probe seeds. Raw, and corrected for the
    majority class feature by feature, (accuracy - majority) / (1 - majority).
alternatives
    The same under each alternative semantics, and the difference from the
    original, on the same programs.

State sets (column `states`): `all`; `non_final`, without the state of each
program's last statement, because the world after the last statement of a
correct program stands in the text; `differing` (pairs of semantics only), for
each feature only the states whose label differs under the two.

Intervals are percentile bootstraps that resample test programs and probe seeds
(fits differ by as much as the semantics do), with the same draws everywhere, so
that semantics, depths and checkpoints are paired. With
several LM seeds there are `pooled` rows beside theirs: the mean over LM seeds,
with LM seeds resampled as well; a checkpoint that one of them lacks has none.
Early checkpoints that write too little to probe are left empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progsem import bootstrap, gallery
from progsem.artifacts import read_csv, read_json, write_csv, write_json
from progsem.features import corrected_accuracy
from progsem.results import (
    MEAN,
    METRICS,
    ORIGINAL,
    POOLED,
    SOURCES,
    Checkpoint,
    Outcomes,
    Settings,
    count_training_lengths,
    find_checkpoints,
    read_outcomes,
    read_programs,
    statements,
    training_rows,
)

# Phases: a boundary lies where a curve has made a tenth of its way up for good. A curve that rises
# by less than the smallest rise has no such boundary.
RISE = 0.1
SMALLEST_RISE_OF_ACCURACY = 0.05
SMALLEST_RISE_OF_ENTROPY = 1.0  # bits
PHASE_RULE = (
    "syntax acquisition starts at the checkpoint from which the diversity (entropy) of the output stays above the "
    "first tenth of its rise from minimum to maximum, semantics acquisition where generative accuracy does; before "
    "that it is babbling. The untrained model is left out; rises of less than 1 bit or 5% count as none; syntax "
    "never starts after semantics."
)


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


def run(job) -> None:
    """Compute every statistic of a study and write the tables, `summary.json` and `gallery.json`."""
    settings = Settings.of(job)
    checkpoints = find_checkpoints(job, settings)
    training = training_rows(job.inputs["metrics"], settings)
    training_lengths = count_training_lengths(job.inputs["corpus"])
    results = measure(checkpoints, settings, training, training_lengths)
    results["training"] = training
    results["regression"] = regression_rows(results, settings)
    for name in TABLES:
        write_rows(job.output(name), TABLES[name], results[name])
    write_json(job.output("gallery"), gallery.choose(checkpoints, settings))
    write_json(job.output("summary"), summary(results, settings, wall_seconds(job.inputs["manifests"])))
    job.notes["checkpoints"] = len(checkpoints)


TABLES = {
    "checkpoints": (
        "lm_seed step tokens programs n_test generative_accuracy generative_accuracy_low generative_accuracy_high "
        "strict_accuracy strict_accuracy_low strict_accuracy_high unconstrained_accuracy unconstrained_accuracy_low "
        "unconstrained_accuracy_high unconstrained_parses unconstrained_parses_low unconstrained_parses_high finished "
        "distinct distinct_reference entropy_bits entropy_bits_reference perplexity_reference "
        "perplexity_reference_low perplexity_reference_high perplexity_generated perplexity_generated_low "
        "perplexity_generated_high mean_length_generated mean_length_generated_correct "
        "mean_length_generated_correct_low mean_length_generated_correct_high mean_length_reference "
        "mean_length_reference_of_correct mean_length_training"
    ).split(),
    "probes": (
        "lm_seed step semantics source states depth feature accuracy accuracy_low accuracy_high majority corrected "
        "corrected_low corrected_high n_states n_programs probe_seed_sd validation_accuracy n_train"
    ).split(),
    "offsets": (
        "lm_seed step source states offset depth feature accuracy accuracy_low accuracy_high majority "
        "corrected corrected_low corrected_high n_states n_programs"
    ).split(),
    "alternatives": (
        "lm_seed step source states depth feature alternative difficulty_matched raw_original raw_alternative "
        "raw_difference raw_ci_low raw_ci_high majority_original majority_alternative original alternative_content "
        "difference ci_low ci_high p p_holm n_features n_states n_programs"
    ).split(),
    "regression": (
        "lm_seed source states depth measure points n_points block_length slope slope_low slope_high intercept r2 "
        "r2_low r2_high"
    ).split(),
    "lengths": "lm_seed step programs statements count".split(),
    "training": ["lm_seed", *METRICS],
}


def wall_seconds(manifests: list[Path]) -> dict[str, float]:
    """Seconds that the jobs of each stage took, summed."""
    seconds: dict[str, float] = {}
    for path in manifests:
        manifest = read_json(path)
        seconds[manifest["stage"]] = seconds.get(manifest["stage"], 0.0) + manifest["seconds"]
    return {stage: round(total, 1) for stage, total in sorted(seconds.items())}


# ------------------------------------------------------------------ measuring


def measure(
    checkpoints: list[Checkpoint], settings: Settings, training: list[dict], training_lengths: np.ndarray
) -> dict:
    """All rows of every checkpoint: tables by name, rows ordered by step, then LM seed (pooled last)."""
    weights, models, fits = settings.draws()
    exact = weights.astype(float)  # log-likelihoods are no counts: single precision would show
    tables = {name: [] for name in ("checkpoints", "probes", "offsets", "alternatives", "lengths")}
    tables["lengths"] = length_rows(None, None, "training", training_lengths)
    tables["training_lengths"] = training_lengths
    for step in settings.lm.checkpoints():
        generations, contents, pairs = [], [], []
        for checkpoint in (one for one in checkpoints if one.step == step):
            programs = read_programs(checkpoint.programs, settings.test)
            generation = generation_statistics(programs, exact)
            generations.append(generation)
            at = {"lm_seed": checkpoint.seed, "step": step}
            tables["checkpoints"].append(
                at
                | training_progress(training, checkpoint.seed, step)
                | generation_row(generation, settings, training_lengths)
            )
            for kind, counts in generated_lengths(programs).items():
                tables["lengths"] += length_rows(checkpoint.seed, step, kind, counts)
            content, pair, extras = checkpoint_contents(checkpoint, settings, weights, fits, programs["row_in_file"])
            contents.append(content)
            pairs.append(pair)
            add_content_rows(tables, at, content, pair, settings, extras)
        if settings.pooled:
            at = {"lm_seed": POOLED, "step": step}
            mean = {
                name: average([one[name] for one in generations], models)
                if isinstance(generations[0][name], np.ndarray)
                else float(np.mean([one[name] for one in generations]))
                for name in generations[0]
            }
            progress = training_progress(training, settings.lm.seeds[0], step)
            tables["checkpoints"].append(at | progress | generation_row(mean, settings, training_lengths))
            pooled = {key: pool([one[key] for one in contents], models) for key in in_all(contents)}
            both = {
                key: tuple(pool([one[key][side] for one in pairs], models) for side in (0, 1)) for key in in_all(pairs)
            }
            add_content_rows(tables, at, pooled, both, settings, {})
    return tables


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


def generation_statistics(programs: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray | float]:
    """What the LM wrote for the test specifications: shares, means and perplexities, each (1 + R,) or a float."""
    generated, reference = statements(programs["generated"]), statements(programs["reference"])
    correct = programs["correct_shown"].astype(bool)
    counted = bootstrap.totals(
        weights,
        np.stack(
            [
                np.ones(len(correct)),
                correct,
                programs["correct_all"],
                programs["unconstrained_correct"],
                programs["unconstrained_parses"],
                programs["generated_finished"],
                generated,
                generated * correct,
                reference,
                reference * correct,
                programs["generated_log_likelihood"],
                programs["generated_tokens"],
                programs["reference_log_likelihood"],
                programs["reference_tokens"],
            ],
            axis=1,
        ),
    ).T
    (n, right, strict, free, parses, finished, length, length_right, wanted, wanted_right, *likelihood) = counted
    counts = np.unique(programs["generated"], axis=0, return_counts=True)[1]
    counts_reference = np.unique(programs["reference"], axis=0, return_counts=True)[1]
    return {
        "generative_accuracy": right / n,
        "strict_accuracy": strict / n,
        "unconstrained_accuracy": free / n,
        "unconstrained_parses": parses / n,
        "finished": finished / n,
        "perplexity_generated": np.exp(-bootstrap.ratio(likelihood[0], likelihood[1])),
        "perplexity_reference": np.exp(-bootstrap.ratio(likelihood[2], likelihood[3])),
        "mean_length_generated": length / n,
        "mean_length_generated_correct": bootstrap.ratio(length_right, right),
        "mean_length_reference": wanted / n,
        "mean_length_reference_of_correct": bootstrap.ratio(wanted_right, right),
        "distinct": len(counts) / len(correct),
        "distinct_reference": len(counts_reference) / len(correct),
        "entropy_bits": bootstrap.entropy_bits(counts),
        "entropy_bits_reference": bootstrap.entropy_bits(counts_reference),
    }


def generation_row(statistics: dict, settings: Settings, training_lengths: np.ndarray) -> dict:
    """Estimates, and intervals where the table has columns for them."""
    row = {"n_test": settings.test, "mean_length_training": mean_of_counts(training_lengths)}
    for name, values in statistics.items():
        if not isinstance(values, np.ndarray):
            row[name] = values
            continue
        row[name] = values[0]
        if f"{name}_low" in TABLES["checkpoints"]:
            low, high = bootstrap.interval(values, settings.statistics.confidence)
            row |= {f"{name}_low": low, f"{name}_high": high}
    return row


def training_progress(training: list[dict], seed: int, step: int) -> dict:
    """Tokens and programs that the LM has been trained on at a checkpoint, as last logged up to it."""
    logged = [row for row in training if row["lm_seed"] == seed and row["step"] <= step]
    return {name: logged[-1][name] if logged and step else 0 for name in ("tokens", "programs")}


def generated_lengths(programs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Numbers of test programs by statements: generated, the correct ones, their references, all references."""
    correct = programs["correct_shown"].astype(bool)
    generated, reference = statements(programs["generated"]), statements(programs["reference"])
    return {
        "generated": np.bincount(generated),
        "generated_correct": np.bincount(generated[correct]),
        "reference": np.bincount(reference),
        "reference_of_correct": np.bincount(reference[correct]),
    }


def length_rows(seed: int | None, step: int | None, kind: str, counts: np.ndarray) -> list[dict]:
    """A row for each number of statements that occurs."""
    at = {"lm_seed": seed, "step": step, "programs": kind}
    return [at | {"statements": length, "count": int(count)} for length, count in enumerate(counts) if count]


def mean_of_counts(counts: np.ndarray) -> float:
    """Mean of a distribution given as counts of 0, 1, 2, …"""
    return float(counts @ np.arange(len(counts)) / counts.sum())


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


def add_content_rows(tables: dict, at: dict, contents: dict, pairs: dict, settings: Settings, extras: dict) -> None:
    """Append the rows of one checkpoint to the tables `probes`, `offsets` and `alternatives`."""
    confidence = settings.statistics.confidence
    features = (*settings.features, MEAN)
    for (semantics, source, *rest), content in contents.items():
        offset, states = rest
        accuracy, corrected = (bootstrap.interval(x, confidence) for x in (content.accuracy, content.corrected))
        for d, depth in enumerate(settings.depths):
            for f, feature in enumerate(features):
                row = at | {
                    "semantics": semantics,
                    "source": source,
                    "states": states,
                    "depth": depth,
                    "feature": feature,
                    "accuracy": content.accuracy[0, f, d],
                    "accuracy_low": accuracy[0][f, d],
                    "accuracy_high": accuracy[1][f, d],
                    "majority": content.majority[0, f],
                    "corrected": content.corrected[0, f, d],
                    "corrected_low": corrected[0][f, d],
                    "corrected_high": corrected[1][f, d],
                    "n_states": content.states[f],
                    "n_programs": content.programs[f],
                }
                if offset == 0:
                    extra = extras.get((semantics, source, depth, feature), {}) if states == settings.states[0] else {}
                    tables["probes"].append(row | extra)
                if semantics == ORIGINAL:
                    tables["offsets"].append(row | {"offset": offset})
    for source in settings.sources:
        for states in (*settings.states, "differing"):
            names = [name for name in settings.alternatives if (name, source, states) in pairs]
            if names:
                family = [pairs[name, source, states] for name in names]
                tables["alternatives"] += alternative_rows(
                    at | {"source": source, "states": states}, names, family, settings
                )


def alternative_rows(
    at: dict, names: list[str], family: list[tuple[Content, Content]], settings: Settings
) -> list[dict]:
    """Rows of one family of comparisons, over whose alternatives p is adjusted."""
    confidence = settings.statistics.confidence
    differences = [original.corrected - alternative.corrected for original, alternative in family]
    p = np.stack([bootstrap.p_value(difference) for difference in differences], axis=-1)
    adjusted = bootstrap.holm(p)
    rows = []
    for index, (name, (original, alternative)) in enumerate(zip(names, family, strict=True)):
        low, high = bootstrap.interval(differences[index], confidence)
        raw = original.accuracy - alternative.accuracy
        compared = np.isfinite(original.corrected[0, :-1]).all(axis=1).sum()
        raw_low, raw_high = bootstrap.interval(raw, confidence)
        for d, depth in enumerate(settings.depths):
            for f, feature in enumerate((*settings.features, MEAN)):
                rows.append(
                    at
                    | {
                        "depth": depth,
                        "feature": feature,
                        "alternative": name,
                        "difficulty_matched": name == settings.interventions.difficulty_matched,
                        "raw_original": original.accuracy[0, f, d],
                        "raw_alternative": alternative.accuracy[0, f, d],
                        "raw_difference": raw[0, f, d],
                        "raw_ci_low": raw_low[f, d],
                        "raw_ci_high": raw_high[f, d],
                        "majority_original": original.majority[0, f],
                        "majority_alternative": alternative.majority[0, f],
                        "original": original.corrected[0, f, d],
                        "alternative_content": alternative.corrected[0, f, d],
                        "difference": differences[index][0, f, d],
                        "ci_low": low[f, d],
                        "ci_high": high[f, d],
                        "p": p[f, d, index],
                        "p_holm": adjusted[f, d, index],
                        "n_features": compared if feature == MEAN else 1,
                        "n_states": original.states[f],
                        "n_programs": original.programs[f],
                    }
                )
    return rows


# ----------------------------------------------------------- over the training


def regression_rows(results: dict, settings: Settings) -> list[dict]:
    """Semantic content on generative accuracy over the trained checkpoints of each LM seed and of all.

    `points` says what a point is: a checkpoint (`levels`), or the change from
    the checkpoint before (`differences`), which common trends cannot make.
    """
    accuracy = {(row["lm_seed"], row["step"]): row["generative_accuracy"] for row in results["checkpoints"]}
    content = {
        (row["lm_seed"], row["step"], row["source"], row["states"], row["depth"]): row
        for row in results["probes"]
        if row["semantics"] == ORIGINAL and row["feature"] == MEAN
    }
    trained = [step for step in settings.lm.checkpoints() if step > 0]
    groups = [(seed, [seed]) for seed in settings.lm.seeds] + (
        [(POOLED, list(settings.lm.seeds))] if settings.pooled else []
    )
    rows = []
    for name, seeds in groups:
        for source in settings.sources:
            for states in settings.states:
                for depth in settings.depths:
                    for measured, column in (("raw", "accuracy"), ("corrected", "corrected")):
                        series = []
                        for seed in seeds:
                            points = [
                                (accuracy[seed, step], content[seed, step, source, states, depth][column])
                                for step in trained
                                if (seed, step, source, states, depth) in content
                                and math.isfinite(content[seed, step, source, states, depth][column])
                            ]
                            series.append(np.array(points, dtype=float).reshape(-1, 2))
                        at = {
                            "lm_seed": name,
                            "source": source,
                            "states": states,
                            "depth": depth,
                            "measure": measured,
                        }
                        rows.append(at | regression_row("levels", series, settings))
                        changes = [np.diff(points, axis=0) for points in series]
                        rows.append(at | regression_row("differences", changes, settings))
    return rows


def regression_row(points: str, series: list[np.ndarray], settings: Settings) -> dict:
    """Slope, intercept and R² with intervals; empty below three points. `series` are (n, 2): x, y."""
    series = [pairs for pairs in series if len(pairs)]
    n = sum(len(pairs) for pairs in series)
    row = {"points": points, "n_points": n, "block_length": None}
    if n < 3:
        return row
    everything = np.concatenate(series)
    line = bootstrap.regress(everything[:, 0], everything[:, 1])
    slopes, r2 = bootstrap.regress_blocks(
        [(pairs[:, 0], pairs[:, 1]) for pairs in series],
        settings.statistics.resamples,
        np.random.default_rng([settings.statistics.seed, 2]),
    )
    slope_low, slope_high = bootstrap.interval(slopes, settings.statistics.confidence)
    r2_low, r2_high = bootstrap.interval(r2, settings.statistics.confidence)
    return row | {
        "block_length": max(bootstrap.block_length(len(pairs)) for pairs in series),
        "slope": line.slope,
        "slope_low": slope_low,
        "slope_high": slope_high,
        "intercept": line.intercept,
        "r2": line.r2,
        "r2_low": r2_low,
        "r2_high": r2_high,
    }


def find_phases(steps: list[int], entropy: list[float], accuracy: list[float]) -> dict[str, int | None]:
    """Steps at which syntax and semantics acquisition start (`PHASE_RULE`), or None where the curve hardly rises."""
    trained = [index for index, step in enumerate(steps) if step > 0]
    curves = np.array(entropy, dtype=float)[trained], np.array(accuracy, dtype=float)[trained]
    starts = [
        bootstrap.rise(curve, RISE, smallest)
        for curve, smallest in zip(curves, (SMALLEST_RISE_OF_ENTROPY, SMALLEST_RISE_OF_ACCURACY), strict=True)
    ]
    syntax, semantics = (None if start is None else steps[trained[start]] for start in starts)
    if syntax is not None and semantics is not None:
        syntax = min(syntax, semantics)
    return {"syntax_start": syntax, "semantics_start": semantics}


# -------------------------------------------------------------------- summary


def summary(results: dict, settings: Settings, seconds: dict[str, float]) -> dict:
    """The study in numbers, of the last checkpoint unless a row says its step."""
    last, seed, depths = settings.lm.checkpoints()[-1], settings.headline_seed, settings.depths
    source, states = settings.sources[0], settings.states[0]

    def rows(table: str, **where) -> list[dict]:
        return [row for row in results[table] if all(row[key] == value for key, value in where.items())]

    (final,) = rows("checkpoints", lm_seed=seed, step=last)
    contents = rows("probes", lm_seed=seed, step=last, semantics=ORIGINAL, feature=MEAN)
    headline = {row["depth"]: row for row in contents if (row["source"], row["states"]) == (source, states)}
    regressions = rows("regression", lm_seed=seed, source=source, states=states)
    alternatives = rows("alternatives", lm_seed=seed, step=last, feature=MEAN)
    deepest = {
        row["alternative"]: row
        for row in alternatives
        if (row["source"], row["states"], row["depth"]) == (source, states, depths[-1])
    }
    quoted = "original difference ci_low ci_high p p_holm raw_original raw_alternative raw_difference".split()
    quoted += [
        "raw_ci_low",
        "raw_ci_high",
        "majority_original",
        "majority_alternative",
        "n_features",
        "n_states",
        "n_programs",
    ]
    by_step = {
        (row["step"], row["depth"]): row
        for row in rows("probes", lm_seed=seed, semantics=ORIGINAL, feature=MEAN, source=source, states=states)
    }

    def over_training(of: int | str) -> dict:
        curve = rows("checkpoints", lm_seed=of)
        return find_phases(
            [row["step"] for row in curve],
            [row["entropy_bits"] for row in curve],
            [row["generative_accuracy"] for row in curve],
        )

    value = {
        "study": settings.study,
        "step": last,
        "generative_accuracy": final["generative_accuracy"],
        "generative_accuracy_ci": [final["generative_accuracy_low"], final["generative_accuracy_high"]],
        "strict_accuracy": final["strict_accuracy"],
        "unconstrained_accuracy": final["unconstrained_accuracy"],
        "semantic_content": {depth: headline.get(depth, {}).get("accuracy") for depth in depths},
        "semantic_content_corrected": {depth: headline.get(depth, {}).get("corrected") for depth in depths},
        "semantic_content_by": [
            {
                key: row[key]
                for key in TABLES["probes"]
                if key in row and key not in ("lm_seed", "step", "semantics", "feature", "n_train")
            }
            for row in contents
        ],
        "sources": {
            "headline": source,
            "states": states,
            "probed": list(settings.sources),
            "features": list(settings.features),
        },
        "r2": {
            row["depth"]: {
                "r2": row.get("r2"),
                "ci_low": row.get("r2_low"),
                "ci_high": row.get("r2_high"),
                "slope": row.get("slope"),
                "n_points": row["n_points"],
                "block_length": row["block_length"],
            }
            for row in regressions
            if row["points"] == "levels" and row["measure"] == "raw"
        },
        "r2_by": [
            {key: row.get(key) for key in TABLES["regression"] if key != "lm_seed"}
            for row in rows("regression", lm_seed=seed)
        ],
        "alternatives": {
            name: {
                "meaning": dict(sorted(settings.interventions.alternatives[name].items())),
                "difficulty_matched": name == settings.interventions.difficulty_matched,
                "alternative": deepest.get(name, {}).get("alternative_content"),
            }
            | {key: deepest.get(name, {}).get(key) for key in quoted}
            for name in settings.alternatives
        },
        "alternatives_depth": depths[-1],
        "alternatives_by": [
            {key: row[key] for key in TABLES["alternatives"] if key not in ("lm_seed", "step", "feature")}
            for row in alternatives
        ],
        "checkpoints": [
            {key: row[key] for key in TABLES["checkpoints"] if key != "lm_seed"}
            | {
                name: {depth: by_step.get((row["step"], depth), {}).get(column) for depth in depths}
                for name, column in (("semantic_content", "accuracy"), ("semantic_content_corrected", "corrected"))
            }
            for row in rows("checkpoints", lm_seed=seed)
        ],
        "mean_length": {
            "generated_correct": final["mean_length_generated_correct"],
            "training": final["mean_length_training"],
            "generated": final["mean_length_generated"],
            "reference": final["mean_length_reference"],
            "reference_of_correct": final["mean_length_reference_of_correct"],
        },
        "phases": over_training(seed)
        | {"rule": PHASE_RULE}
        | {"by_seed": {str(one): over_training(one) for one in settings.lm.seeds}},
        "n": {
            "test_programs": settings.test,
            "lm_seeds": len(settings.lm.seeds),
            "probe_seeds": settings.probes.seeds,
            "checkpoints": len(settings.lm.checkpoints()),
            "checkpoints_probed": len({step for step, _ in by_step}),
            "training_programs": int(results["training_lengths"].sum()),
            "states": headline[depths[0]]["n_states"] if headline else 0,
        },
        "intervals": {
            "confidence": settings.statistics.confidence,
            "resamples": settings.statistics.resamples,
            "resampled": [
                "test programs",
                *(["probe seeds"] if settings.probes.seeds > 1 else []),
                *(["LM seeds"] if settings.pooled else []),
            ],
            "kind": "percentile bootstrap; over checkpoints: moving blocks of checkpoints",
        },
        "wall_seconds": seconds,
    }
    return _plain(value)


# -------------------------------------------------------------------- writing


def write_rows(path: Path, names: list[str], rows: list[dict]) -> None:
    """Write rows as CSV: floats with six decimals, nothing where a value is missing or undefined."""
    write_csv(path, names, ([_plain(row.get(name)) for name in names] for row in rows))


def _plain(value):
    """NumPy values as JSON ones: floats with six decimals, None for what is undefined."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value
