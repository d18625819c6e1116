"""Over the training: semantic content on generative accuracy, and where the phases begin.

What a point of a regression is, column `points`:

levels       a trained checkpoint
differences  the change from the checkpoint before, which a common trend alone does not relate
between      a language model at the last checkpoint; of three or more

The first two are of one language model, with intervals for as many points as the
checkpoints are worth (`bootstrap.regress`); beside them, `_blocks_`, percentiles of
a moving-block bootstrap, which are too narrow for a dozen points. In `pooled` rows
slope and intercept are means over language models, R² is that of the mean of Fisher's
z, and intervals are Student's from the spread over language models (Ibragimov &
Müller 2010), which takes no view on how checkpoints depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

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
    """Semantic content on generative accuracy: of each LM seed over its trained checkpoints, of all, between them."""
    accuracy = {(row["lm_seed"], row["step"]): row["generative_accuracy"] for row in results["checkpoints"]}
    content = {
        (row["lm_seed"], row["step"], row["source"], row["states"], row["depth"]): row
        for row in results["probes"]
        if row["semantics"] == ORIGINAL and row["feature"] == MEAN
    }
    trained = [step for step in settings.lm.checkpoints() if step > 0]
    sets = [
        (source, states, depth, measured)
        for source in settings.sources
        for states in settings.states
        for depth in settings.depths
        for measured in MEASURES
    ]
    rows, pooled = [], []
    for source, states, depth, measured in sets:
        at = {"source": source, "states": states, "depth": depth, "measure": measured}
        series = []
        for seed in settings.lm.seeds:
            points = [
                (step, accuracy[seed, step], content[seed, step, source, states, depth][MEASURES[measured]])
                for step in trained
                if (seed, step, source, states, depth) in content
            ]
            points = np.array(points, dtype=float).reshape(-1, 3)
            series.append(points[np.isfinite(points).all(axis=1)])
        for kind in ("levels", "differences"):
            each = [points[:, 1:] if kind == "levels" else np.diff(points[:, 1:], axis=0) for points in series]
            fitted = [Fitted.of(points, which, settings) for which, points in enumerate(each)]
            for seed, one in zip(settings.lm.seeds, fitted, strict=True):
                rows.append({"lm_seed": seed, "points": kind} | at | one.row(settings))
            if settings.pooled:
                pooled.append({"lm_seed": POOLED, "points": kind} | at | pooled_row(fitted, settings))
        last = np.array([points[-1, 1:] for points in series if len(points) and points[-1, 0] == trained[-1]])
        if len(settings.lm.seeds) >= 3 and len(last) >= 3:
            line = bootstrap.regress(*last.T, independent=True)
            about = {"lm_seed": POOLED, "points": "between", "n_lm_seeds": len(last)}
            pooled.append(about | at | line_row(line, settings.statistics.confidence))
    order = {name: index for index, name in enumerate((*settings.lm.seeds, POOLED))}
    return sorted(rows, key=lambda row: order[row["lm_seed"]]) + pooled


MEASURES = {"raw": "accuracy", "corrected": "corrected"}  # and their columns in the table `probes`


@dataclass(frozen=True)
class Fitted:
    """The line of one language model, and its slope and correlation in blocks of checkpoints, (1 + R,)."""

    line: bootstrap.Line
    slopes: np.ndarray
    correlations: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, which: int, settings: Settings) -> Fitted:
        """Of points (n, 2): generative accuracy, semantic content; `which` language model draws its own blocks."""
        x, y = points.T
        if len(points) < 3:
            undefined = np.full(1 + settings.statistics.resamples, np.nan)
            return cls(bootstrap.regress(x, y), undefined, undefined)
        blocks = drawn_blocks(len(points), which, settings.statistics.resamples, settings.statistics.seed)
        return cls(bootstrap.regress(x, y), *bootstrap.regress_blocks(x, y, blocks))

    def row(self, settings: Settings) -> dict:
        """Columns of the table."""
        confidence = settings.statistics.confidence
        blocks = block_columns(self.slopes, self.correlations, confidence) if self.line.n >= 3 else {}
        length = bootstrap.block_length(self.line.n) if self.line.n >= 3 else None
        return line_row(self.line, confidence) | blocks | {"n_lm_seeds": 1, "block_length": length}


@cache
def drawn_blocks(points: int, which: int, resamples: int, seed: int) -> np.ndarray:
    """Blocks of so many checkpoints, of language model number `which`: the same for all that is measured of them."""
    return bootstrap.block_weights(points, resamples, np.random.default_rng([seed, 2, which]))


def line_row(line: bootstrap.Line, confidence: float) -> dict:
    """Slope, intercept and R² with intervals; only the number of points below three."""
    row = {"n_points": line.n, "n_effective": line.n_effective}
    for name, ends in line.intervals(confidence).items() if line.n >= 3 else ():
        row |= {name: getattr(line, name), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return row


def block_columns(slopes: np.ndarray, correlations: np.ndarray, confidence: float) -> dict:
    """Percentile intervals of slope and R² from replicates (1 + R,)."""
    row = {}
    for name, replicates in (("slope", slopes), ("r2", correlations**2)):
        row[f"{name}_blocks_low"], row[f"{name}_blocks_high"] = bootstrap.percentiles(replicates[1:], confidence)
    return row


def pooled_row(fitted: list[Fitted], settings: Settings) -> dict:
    """Means over language models, undefined if one of them has no line."""
    confidence, lines = settings.statistics.confidence, [one.line for one in fitted]
    row = {"n_points": sum(line.n for line in lines), "n_lm_seeds": len(lines), "block_length": None}
    if min(line.n for line in lines) < 3:
        return row
    z = bootstrap.fisher_z(np.array([line.correlation for line in lines]))
    for name in ("slope", "intercept"):
        values = np.array([getattr(line, name) for line in lines])
        low, high = bootstrap.student_interval(values, confidence)
        row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    low, high = bootstrap.r2_interval(*bootstrap.student_interval(z, confidence))
    blocks = np.tanh(np.mean([bootstrap.fisher_z(one.correlations) for one in fitted], axis=0))
    return (
        row
        | {"r2": np.tanh(z.mean()) ** 2, "r2_low": low, "r2_high": high}
        | block_columns(np.mean([one.slopes for one in fitted], axis=0), blocks, confidence)
        | {
            "n_effective": sum(line.n_effective for line in lines),
            "block_length": max(bootstrap.block_length(line.n) for line in lines),
        }
    )


def find_phases(steps: list[int], entropy: np.ndarray, accuracy: np.ndarray) -> dict[str, np.ndarray]:
    """Steps at which syntax and semantics acquisition start (`PHASE_RULE`), NaN where the curve hardly rises.

    Curves are (…, number of steps), and what is found (…) float.
    """
    trained = np.array(steps) > 0
    at = np.append(np.array(steps)[trained], np.nan)
    starts = [
        bootstrap.rise(np.asarray(curve, dtype=float)[..., trained], RISE, smallest)
        for curve, smallest in ((entropy, SMALLEST_RISE_OF_ENTROPY), (accuracy, SMALLEST_RISE_OF_ACCURACY))
    ]
    syntax, semantics = (at[np.where(np.isnan(start), -1, start).astype(int)] for start in starts)
    return {"syntax_start": np.where(syntax > semantics, semantics, syntax), "semantics_start": semantics}


def phases(curves: dict[int, dict[str, np.ndarray]], settings: Settings) -> dict:
    """`find_phases` of curves by step and name, values (1 + R, U), and how sure the boundaries are.

    The rule is applied again to the curves of every resample of the test programs and, where there are several,
    of the language models. `_ci` are percentiles of the boundaries, `_agreement` is the share of resamples with
    the same one (or with none, if there is none). Checkpoints are far apart, so mostly all agree.
    """
    steps = list(curves)
    units = next(iter(curves.values()))["entropy_bits"].shape[1]
    rng = np.random.default_rng([settings.statistics.seed, 1])
    drawn = bootstrap.resampling_weights(units, settings.statistics.resamples, rng) / units
    entropy, accuracy = (
        np.stack([(curves[step][name] * drawn).sum(axis=1) for step in steps], axis=1)
        for name in ("entropy_bits", "generative_accuracy")
    )
    value = {}
    for name, found in find_phases(steps, entropy, accuracy).items():
        boundary, others = found[0], found[1:]
        none = math.isnan(boundary)
        value[name] = None if none else int(boundary)
        value[f"{name}_agreement"] = float(np.mean(np.isnan(others) if none else others == boundary))
        low, high = bootstrap.percentiles(others, settings.statistics.confidence)
        # Percentiles may lie between checkpoints: to the nearest ones that hold them.
        value[f"{name}_ci"] = (
            None
            if none or math.isnan(low)
            else [max(step for step in steps if step <= low), min(step for step in steps if step >= high)]
        )
    return value
