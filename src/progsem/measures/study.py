"""All rows of all tables: every checkpoint measured, language models pooled."""

from __future__ import annotations

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.content import checkpoint_contents, in_all, pool, pool_pairs, program_weights
from progsem.measures.generation import (
    Sampled,
    generated_lengths,
    generation_estimates,
    generation_row,
    generation_statistics,
    length_rows,
    length_test_rows,
    mean_of_counts,
    pool_generations,
    training_progress,
)
from progsem.measures.results import POOLED, Checkpoint, Settings, read_programs
from progsem.measures.tables import add_alternative_rows, add_content_rows, content_estimates

CURVES = ("entropy_bits", "generative_accuracy")  # whose rise the phases are told by


def measure(
    checkpoints: list[Checkpoint], settings: Settings, training: list[dict], training_lengths: np.ndarray
) -> dict:
    """All rows of every checkpoint: tables by name, rows ordered by step, then LM seed (pooled last)."""
    weights = program_weights(settings)
    exact = weights.astype(float)  # log-likelihoods are no counts: single precision would show
    tables = {name: [] for name in ("checkpoints", "probes", "offsets", "alternatives", "length_tests")}
    tables["curves"] = {}
    tables["lengths"] = length_rows(None, None, "training", training_lengths)
    tables["training_lengths"] = training_lengths
    names = (*settings.lm.seeds, POOLED) if settings.pooled else settings.lm.seeds
    # Of each language model and step; of the replicates only what the intervals need is kept.
    estimates, counts, fits = ({name: {} for name in names} for _ in range(3))
    for step in settings.lm.checkpoints():
        generations, contents, pairs = [], [], []
        for checkpoint in (one for one in checkpoints if one.step == step):
            seed = checkpoint.seed
            programs = read_programs(checkpoint.programs, settings.test)
            generations.append(generation_statistics(programs, exact, mean_of_counts(training_lengths)))
            add_generation(tables, seed, step, generations[-1], settings, training, training_lengths)
            for kind, lengths in generated_lengths(programs).items():
                tables["lengths"] += length_rows(seed, step, kind, lengths)
            content, pair, fit = checkpoint_contents(checkpoint, settings, weights, programs["row_in_file"])
            contents.append(content)
            pairs.append(pair)
            fits[seed][step] = fit
            estimates[seed][step], counts[seed][step] = content_estimates(content, pair, fit, settings)
        if settings.pooled:
            together = pool_generations(generations)
            add_generation(tables, POOLED, step, together, settings, training, training_lengths)
            pooled = {key: pool([one[key] for one in contents]) for key in in_all(contents)}
            both = {key: pool_pairs([one[key] for one in pairs]) for key in in_all(pairs)}
            fits[POOLED][step] = {}
            estimates[POOLED][step], counts[POOLED][step] = content_estimates(pooled, both, {}, settings)
    for seed in settings.lm.seeds:
        estimates[seed] = bootstrap.borrow(estimates[seed])
    for step in settings.lm.checkpoints():
        for name in names:
            at = {"lm_seed": name, "step": step}
            add_content_rows(tables, at, estimates[name][step], counts[name][step], fits[name][step], settings)
            add_alternative_rows(tables, at, estimates[name][step], counts[name][step], settings)
    return tables | {"estimates": estimates, "counts": counts}


def add_generation(
    tables: dict,
    name: int | str,
    step: int,
    statistics: dict[str, Sampled],
    settings: Settings,
    training: list[dict],
    training_lengths: np.ndarray,
) -> None:
    """Append what a language model (or all: `pooled`) writes at a checkpoint to the tables; keep its curves' points."""
    at = {"lm_seed": name, "step": step}
    estimates = generation_estimates(statistics, settings)
    progress = training_progress(training, settings.lm.seeds[0] if name == POOLED else name, step)
    tables["checkpoints"].append(at | progress | generation_row(statistics, estimates, settings, training_lengths))
    tables["length_tests"] += [at | row for row in length_test_rows(statistics, estimates)]
    tables["curves"][name, step] = {curve: statistics[curve].values for curve in CURVES}
