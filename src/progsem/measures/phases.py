"""Where the phases of a training begin: babbling, then syntax acquisition, then semantics acquisition."""

from __future__ import annotations

import math

import numpy as np

from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.resampling import PHASES, resampling_weights
from progsem.measures.results import Settings

# Phases: a boundary lies where a curve has made a tenth of its way up for good. A curve that rises
# by less than the smallest rise has no such boundary.
RISE = 0.1
CURVES = ("entropy_bits", "generative_accuracy")  # by whose rise syntax and semantics are told
SMALLEST_RISE_OF_ACCURACY = 0.05
SMALLEST_RISE_OF_ENTROPY = 1.0  # bits
PHASE_RULE = (
    "syntax acquisition starts at the checkpoint from which the diversity (entropy) of the output stays above the "
    "first tenth of its rise from minimum to maximum, semantics acquisition where generative accuracy does; before "
    "that it is babbling. The untrained model is left out; rises of less than 1 bit or 5% count as none; syntax "
    "never starts after semantics."
)


def rise(values: np.ndarray, fraction: float, smallest: float) -> np.ndarray:
    """Index at which each of (…, T) curves starts the rise to its maximum, (…) float; NaN if it hardly rises.

    The base is the lowest value before the (first) maximum. The rise starts at
    the first point after which, up to the maximum, the curve stays above
    base + `fraction` * (maximum - base): a lone early spike does not count.
    NaN if the curve has fewer than two points or rises by less than `smallest`.
    """
    values = np.asarray(values, dtype=float)
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    until = np.arange(values.shape[-1]) <= np.argmax(values, axis=-1)[..., None]
    base = np.where(until, values, np.inf).min(axis=-1)
    height = values.max(axis=-1) - base
    low = until & (values <= (base + fraction * height)[..., None])
    last = values.shape[-1] - 1 - np.argmax(low[..., ::-1], axis=-1)
    return np.where(height < smallest, np.nan, last + 1.0)


def find_phases(steps: list[int], entropy: np.ndarray, accuracy: np.ndarray) -> dict[str, np.ndarray]:
    """Steps at which syntax and semantics acquisition start (`PHASE_RULE`), NaN where the curve hardly rises.

    Curves are (…, number of steps), and what is found (…) float.
    """
    trained = np.array(steps) > 0
    at = np.append(np.array(steps)[trained], np.nan)
    starts = [
        rise(np.asarray(curve, dtype=float)[..., trained], RISE, smallest)
        for curve, smallest in ((entropy, SMALLEST_RISE_OF_ENTROPY), (accuracy, SMALLEST_RISE_OF_ACCURACY))
    ]
    syntax, semantics = (at[np.where(np.isnan(start), -1, start).astype(int)] for start in starts)
    return {"syntax_start": np.where(syntax > semantics, semantics, syntax), "semantics_start": semantics}


def phases(analysis: Analysis, name: int | str) -> dict:
    """`find_phases` of one language model, or of the mean over all, and how sure the boundaries are.

    The rule is applied again to the curves of every resample of the test programs and, where there are several,
    of the language models. `_ci` are percentiles of the boundaries, `_agreement` is the share of resamples with
    the same one (or with none, if there is none). Checkpoints are far apart, so mostly all agree.
    """
    written = {step: found[name].written for step, found in analysis.steps.items()}
    return phases_of_curves(
        {step: {curve: here[curve].values for curve in CURVES} for step, here in written.items()}, analysis.settings
    )


def phases_of_curves(curves: dict[int, dict[str, np.ndarray]], settings: Settings) -> dict:
    """The same of curves by step and name, values (1 + R, U)."""
    steps = list(curves)
    units = next(iter(curves.values()))[CURVES[0]].shape[1]
    rng = np.random.default_rng([settings.statistics.seed, PHASES])
    drawn = resampling_weights(units, settings.statistics.resamples, rng) / units
    entropy, accuracy = (
        np.stack([(curves[step][name] * drawn).sum(axis=1) for step in steps], axis=1) for name in CURVES
    )
    value = {}
    for name, found in find_phases(steps, entropy, accuracy).items():
        boundary, others = found[0], found[1:]
        none = math.isnan(boundary)
        value[name] = None if none else int(boundary)
        value[f"{name}_agreement"] = float(np.mean(np.isnan(others) if none else others == boundary))
        low, high = intervals.percentiles(others, settings.statistics.confidence)
        # Percentiles may lie between checkpoints: to the nearest ones that hold them.
        value[f"{name}_ci"] = (
            None
            if none or math.isnan(low)
            else [max(step for step in steps if step <= low), min(step for step in steps if step >= high)]
        )
    return value
