"""All rows of all tables: every checkpoint measured, language models pooled."""

from __future__ import annotations

import numpy as np

from progsem.measures.content import average, checkpoint_contents, in_all, pool
from progsem.measures.generation import (
    generated_lengths,
    generation_row,
    generation_statistics,
    length_rows,
    training_progress,
)
from progsem.measures.results import POOLED, Checkpoint, Settings, read_programs
from progsem.measures.tables import add_content_rows


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
