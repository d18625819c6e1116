"""Semantic content on generative accuracy over the training: table `regression`.

What a point of a regression is, column `points`:

levels       a trained checkpoint
differences  the change from the checkpoint before, which a common trend alone does not relate
between      a language model at the last checkpoint; of three or more

The first two are of one language model, with intervals for as many points as the checkpoints are worth
(`lines.regress`). In `pooled` rows slope and intercept are means over language models, R² is that of the mean of
Fisher's z, and intervals are Student's from the dispersion over language models (Ibragimov & Müller 2010), which
takes no view on how checkpoints depend on each other.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from progsem.measures import lines
from progsem.measures.analysis import Analysis
from progsem.measures.results import POOLED, Settings
from progsem.study.vocabulary import MEAN, ORIGINAL

MEASURES = {"raw": "accuracy", "corrected": "corrected"}  # and their columns in the table `probes`


def regression_rows(analysis: Analysis) -> list[dict]:
    """Rows of each LM seed over its trained checkpoints, then of all together, and between them."""
    settings, seeds = analysis.settings, analysis.settings.lm.seeds
    accuracy = {(row["lm_seed"], row["step"]): row["generative_accuracy"] for row in analysis.rows("checkpoints")}
    contents = analysis.rows("probes", semantics=ORIGINAL, feature=MEAN)
    last_step = settings.lm.every_step()[-1]
    rows = {name: [] for name in (*seeds, POOLED)}
    for source, states, depth, measure in product(settings.sources, settings.states, settings.depths, MEASURES):
        at = {"source": source, "states": states, "depth": depth}
        here = [row for row in contents if all(row[key] == value for key, value in at.items()) and row["step"] > 0]
        at |= {"measure": measure}
        series = []
        for seed in seeds:
            points = [
                (row["step"], accuracy[seed, row["step"]], row[MEASURES[measure]])
                for row in here
                if row["lm_seed"] == seed
            ]
            points = np.array(points, dtype=float).reshape(-1, 3)
            series.append(points[np.isfinite(points).all(axis=1)])
        for kind in ("levels", "differences"):
            each = [points[:, 1:] if kind == "levels" else np.diff(points[:, 1:], axis=0) for points in series]
            fitted = [lines.regress(*points.T) for points in each]
            for seed, line in zip(seeds, fitted, strict=True):
                about = {"lm_seed": seed, "points": kind, "n_lm_seeds": 1}
                rows[seed].append(about | at | line_row(line, settings.statistics.confidence))
            if settings.pooled:
                rows[POOLED].append({"lm_seed": POOLED, "points": kind} | at | pooled_row(fitted, settings))
        last = np.array([points[-1, 1:] for points in series if len(points) and points[-1, 0] == last_step])
        if len(seeds) >= 3 and len(last) >= 3:
            line = lines.regress(*last.T, independent=True)
            about = {"lm_seed": POOLED, "points": "between", "n_lm_seeds": len(last)}
            rows[POOLED].append(about | at | line_row(line, settings.statistics.confidence))
    return [row for name in rows for row in rows[name]]


def line_row(line: lines.RegressionLine, confidence: float) -> dict:
    """Slope, intercept and R² with intervals; only the number of points below three."""
    row = {"n_points": line.n, "n_effective": line.n_effective}
    for name, ends in line.intervals(confidence).items() if line.n >= 3 else ():
        row |= {name: getattr(line, name), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return row


def pooled_row(each: list[lines.RegressionLine], settings: Settings) -> dict:
    """Means over language models, undefined if one of them has no line."""
    confidence = settings.statistics.confidence
    row = {"n_points": sum(line.n for line in each), "n_lm_seeds": len(each)}
    if min(line.n for line in each) < 3:
        return row
    z = lines.fisher_z(np.array([line.correlation for line in each]))
    for name in ("slope", "intercept"):
        values = np.array([getattr(line, name) for line in each])
        low, high = lines.student_interval(values, confidence)
        row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    low, high = lines.r2_interval(*lines.student_interval(z, confidence))
    row |= {"r2": np.tanh(z.mean()) ** 2, "r2_low": low, "r2_high": high}
    return row | {"n_effective": sum(line.n_effective for line in each)}
