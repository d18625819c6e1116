"""Semantic content on generative accuracy over the training: table `regression`.

What a point of a regression is, column `points`:

levels       a trained checkpoint
differences  the change from the checkpoint before, which a common trend alone does not relate
between      a language model at the last checkpoint; of three or more

The first two are of one language model, with intervals for as many points as the
checkpoints are worth (`lines.regress`); beside them, `_blocks_`, percentiles of
a moving-block bootstrap, which are too narrow for a dozen points. In `pooled` rows
slope and intercept are means over language models, R² is that of the mean of Fisher's
z, and intervals are Student's from the dispersion over language models (Ibragimov &
Müller 2010), which takes no view on how checkpoints depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from progsem.measures import intervals, lines
from progsem.measures.analysis import Analysis
from progsem.measures.results import POOLED, Settings
from progsem.study.vocabulary import MEAN, ORIGINAL

MEASURES = {"raw": "accuracy", "corrected": "corrected"}  # and their columns in the table `probes`


def regression_rows(analysis: Analysis) -> list[dict]:
    """Rows of each LM seed over its trained checkpoints, then of all together, and between them."""
    settings, seeds = analysis.settings, analysis.settings.lm.seeds
    accuracy = {(row["lm_seed"], row["step"]): row["generative_accuracy"] for row in analysis.rows("checkpoints")}
    contents = analysis.rows("probes", semantics=ORIGINAL, feature=MEAN)
    last_step = settings.lm.checkpoints()[-1]
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
            fitted = [FittedLine.of(points, which, settings) for which, points in enumerate(each)]
            for seed, one in zip(seeds, fitted, strict=True):
                rows[seed].append({"lm_seed": seed, "points": kind} | at | one.row(settings))
            if settings.pooled:
                rows[POOLED].append({"lm_seed": POOLED, "points": kind} | at | pooled_row(fitted, settings))
        last = np.array([points[-1, 1:] for points in series if len(points) and points[-1, 0] == last_step])
        if len(seeds) >= 3 and len(last) >= 3:
            line = lines.regress(*last.T, independent=True)
            about = {"lm_seed": POOLED, "points": "between", "n_lm_seeds": len(last)}
            rows[POOLED].append(about | at | line_row(line, settings.statistics.confidence))
    return [row for name in rows for row in rows[name]]


@dataclass(frozen=True)
class FittedLine:
    """The line of one language model, and its slope and correlation in blocks of checkpoints, (1 + R,)."""

    line: lines.RegressionLine
    slopes: np.ndarray
    correlations: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, which: int, settings: Settings) -> FittedLine:
        """Of points (n, 2): generative accuracy, semantic content; `which` language model draws its own blocks."""
        x, y = points.T
        if len(points) < 3:
            undefined = np.full(1 + settings.statistics.resamples, np.nan)
            return cls(lines.regress(x, y), undefined, undefined)
        blocks = drawn_blocks(len(points), which, settings.statistics.resamples, settings.statistics.seed)
        return cls(lines.regress(x, y), *lines.regress_blocks(x, y, blocks))

    def row(self, settings: Settings) -> dict:
        """Columns of the table."""
        row = line_row(self.line, settings.statistics.confidence) | {"n_lm_seeds": 1}
        if self.line.n >= 3:
            row |= block_columns(self.slopes, self.correlations, settings.statistics.confidence)
            row["block_length"] = lines.block_length(self.line.n)
        return row


@cache
def drawn_blocks(points: int, which: int, resamples: int, seed: int) -> np.ndarray:
    """Blocks of so many checkpoints, of language model number `which`: the same for all that is measured of them."""
    return lines.block_weights(points, resamples, np.random.default_rng([seed, 2, which]))


def line_row(line: lines.RegressionLine, confidence: float) -> dict:
    """Slope, intercept and R² with intervals; only the number of points below three."""
    row = {"n_points": line.n, "n_effective": line.n_effective}
    for name, ends in line.intervals(confidence).items() if line.n >= 3 else ():
        row |= {name: getattr(line, name), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return row


def block_columns(slopes: np.ndarray, correlations: np.ndarray, confidence: float) -> dict:
    """Percentile intervals of slope and R² from replicates (1 + R,)."""
    row = {}
    for name, replicates in (("slope", slopes), ("r2", correlations**2)):
        row[f"{name}_blocks_low"], row[f"{name}_blocks_high"] = intervals.percentiles(replicates[1:], confidence)
    return row


def pooled_row(fitted: list[FittedLine], settings: Settings) -> dict:
    """Means over language models, undefined if one of them has no line."""
    confidence, each = settings.statistics.confidence, [one.line for one in fitted]
    row = {"n_points": sum(line.n for line in each), "n_lm_seeds": len(each)}
    if min(line.n for line in each) < 3:
        return row
    z = lines.fisher_z(np.array([line.correlation for line in each]))
    for name in ("slope", "intercept"):
        values = np.array([getattr(line, name) for line in each])
        low, high = lines.student_interval(values, confidence)
        row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    low, high = lines.r2_interval(*lines.student_interval(z, confidence))
    blocks = np.tanh(np.mean([lines.fisher_z(one.correlations) for one in fitted], axis=0))
    return (
        row
        | {"r2": np.tanh(z.mean()) ** 2, "r2_low": low, "r2_high": high}
        | block_columns(np.mean([one.slopes for one in fitted], axis=0), blocks, confidence)
        | {
            "n_effective": sum(line.n_effective for line in each),
            "block_length": max(lines.block_length(line.n) for line in each),
        }
    )
