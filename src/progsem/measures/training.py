"""Over the training: semantic content on generative accuracy, and where the phases begin."""

from __future__ import annotations

import math

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.results import MEAN, ORIGINAL, POOLED, Settings

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
