"""All rows of all tables: every checkpoint measured, language models pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.content import Content, Deferred, Pair, checkpoint_contents, in_all, pool
from progsem.measures.draws import Draws
from progsem.measures.generation import (
    Sampled,
    generated_lengths,
    generation_estimates,
    generation_row,
    generation_statistics,
    length_rows,
    length_test_rows,
    pool_generations,
    training_progress,
)
from progsem.measures.results import POOLED, Checkpoint, Settings, read_programs
from progsem.measures.tables import add_alternative_rows, add_content_rows, content_estimates

CURVES = ("entropy_bits", "generative_accuracy")  # whose rise the phases are told by


@dataclass(frozen=True)
class Step:
    """What is measured at one checkpoint, by language model (and pooled): of the replicates what the intervals need.

    estimates and counts by key, fits by (semantics, source); generations: what is said of the programs that it
    writes; lengths: their numbers by kind and length.
    """

    estimates: dict[int | str, dict]
    counts: dict[int | str, dict]
    fits: dict[int | str, dict]
    generations: dict[int | str, dict[str, Sampled]]
    lengths: dict[int, dict[str, np.ndarray]]


def measure_step(checkpoints: list[Checkpoint], settings: Settings, draws: Draws, training_length: float) -> Step:
    """Measure the checkpoints of every language model at one step; `training_length` is that of programs on average."""
    found, contents, pairs = Step({}, {}, {}, {}, {}), [], []
    for checkpoint in checkpoints:
        seed = checkpoint.seed
        programs = read_programs(checkpoint.programs, settings.test)
        found.generations[seed] = generation_statistics(programs, draws, training_length)
        found.lengths[seed] = generated_lengths(programs)
        content, pair, fits = checkpoint_contents(checkpoint, settings, draws, programs["row_in_file"])
        found.estimates[seed], found.counts[seed] = content_estimates(content, pair, fits, settings)
        found.fits[seed] = fits
        if settings.pooled:
            contents.append(content)
            pairs.append(pair)
    if settings.pooled:
        found.generations[POOLED] = pool_generations(list(found.generations.values()))
        pooled = {key: partial(_pooled, [one[key] for one in contents]) for key in in_all(contents)}
        both = {key: partial(Pair.pooled, [one[key] for one in pairs]) for key in in_all(pairs)}
        found.estimates[POOLED], found.counts[POOLED] = content_estimates(pooled, both, {}, settings)
        found.fits[POOLED] = {}
    return found


def _pooled(each: list[Deferred]) -> Content:
    return pool([one() for one in each])


def measure(measured: Iterable[Step], settings: Settings, training: list[dict], training_lengths: np.ndarray) -> dict:
    """All rows of every checkpoint: tables by name, rows ordered by step, then LM seed (pooled last).

    `measured` are the steps in order.
    """
    tables = {name: [] for name in ("checkpoints", "probes", "offsets", "alternatives", "length_tests")}
    tables["curves"] = {}
    tables["lengths"] = length_rows(None, None, "training", training_lengths)
    tables["training_lengths"] = training_lengths
    steps = dict(zip(settings.lm.checkpoints(), measured, strict=True))
    for step, found in steps.items():
        for name, statistics in found.generations.items():
            add_generation(tables, name, step, statistics, settings, training, training_lengths)
        for seed, by_kind in found.lengths.items():
            for kind, lengths in by_kind.items():
                tables["lengths"] += length_rows(seed, step, kind, lengths)
    names = (*settings.lm.seeds, POOLED) if settings.pooled else settings.lm.seeds
    estimates, counts = (
        {name: {step: getattr(found, kind)[name] for step, found in steps.items()} for name in names}
        for kind in ("estimates", "counts")
    )
    for seed in settings.lm.seeds:
        estimates[seed] = bootstrap.borrow(estimates[seed])
    for step, found in steps.items():
        for name in names:
            at = {"lm_seed": name, "step": step}
            add_content_rows(tables, at, estimates[name][step], counts[name][step], found.fits[name], settings)
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
