"""Resampling statistics: pure functions on arrays, without files or config.

Every bootstrapped quantity is an array of shape (1 + R, U, …): row 0 holds the
estimates from the data as they are, rows 1… the R resamples of test programs;
the second axis are the *units* whose mean is reported. Weights are built the
same way (row 0 is all ones), so that one formula gives estimate and replicates
together, and two quantities computed from the same weights are paired.

Programs are many. The states of one program are not independent, so they enter
a resample together, as often as the program was drawn (cluster bootstrap;
Davison & Hinkley 1997, §3.8).

Units are few: the S probes that differ in their initial weights and minibatches
(one language model), or the M language models (several). Drawing 2 or 3 units
again says little of how units vary, so they are not drawn. The variance of the
mean over units is taken apart instead, as in a two-way layout of programs and
units (Owen 2007, "The pigeonhole bootstrap"):

- `programs`, the variance over program draws of the mean over units;
- `crossed`, its part that is each unit's own (which programs suit which unit),
  and that the dispersion of units therefore shows as well;
- `units`, the sample variance over units of their estimates, over U.

The whole is (programs - crossed) + units. Its interval has a Student factor with
Satterthwaite's degrees of freedom; to either side, the programs' part is as
wide as its percentiles are.

Where units are probes, `borrow` replaces `units` by its mean over up to `WINDOW`
neighbouring checkpoints of the language model: 2 probe seeds have 1 degree of
freedom, 5 checkpoints of them have 5. That takes fits at different checkpoints
for independent, and as variable at one as at its neighbours. In two trainings at
the default study's size, 8 probe seeds of each kind had standard deviations
around 0.3 points of corrected accuracy, 0.1 to 0.7 without a trend, but for the
untrained model's deepest probes (0.4 to 1.2); the correlation of equal probe seeds
at neighbouring checkpoints was 0.1 on average, and correlations of their squares,
which matter here, are smaller. Only neighbours, in case that fits vary more at
some times of a training than at others.

Where units are language models nothing is borrowed, as neighbouring checkpoints of
one training are no independent draws. Their variance holds that of their probes,
which are nested in them: equal initial weights meet unrelated hidden states in
another language model (correlation of equal probe seeds 0.1 on average).

What share of such intervals covers the truth, simulated in
`tests/test_intervals.py`: 0.94 to 0.96 for 2 or 5 probe seeds and for 3 language
models, 0.92 to 0.96 for 2 language models, whether programs, fits or language models
make the error. Where fits become twice as variable within twelve checkpoints,
0.93 to 0.97 at each of them. Student's t takes language models for normally distributed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

WINDOW = 5  # checkpoints over which the variance of probe fits is averaged
# A variance of few units that comes out small by chance makes the interval short and its degrees of freedom many;
# so it counts 1 + CAUTION / df times for them. 5 keeps coverage near 93 to 97 % for any df and ratio of variances.
CAUTION = 5
ANY = (-math.inf, math.inf)
SHARE = (0.0, 1.0)
CORRECTED = (-math.inf, 1.0)  # an accuracy, corrected for the majority class
POSITIVE = (0.0, math.inf)


def quotient(numerator: np.ndarray, denominator: np.ndarray, otherwise: float = math.nan) -> np.ndarray:
    """Element-wise quotient, broadcast; `otherwise` where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, otherwise), where=np.asarray(denominator) != 0)


def mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Mean of two or more numbers, such as those of language models, and the ends of Student's interval."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * error
    return mean, mean - reach, mean + reach


def slope_interval(
    x: Sequence[float], y: Sequence[float], groups: Sequence[Hashable], confidence: float
) -> tuple[float, float, float] | None:
    """Least-squares slope of points with a level of its own for each group, and the ends of Student's interval.

    None where there are too few points, or x does not vary within groups.
    """
    levels = sorted(set(groups), key=str)
    design = np.column_stack([x, *([group == level for group in groups] for level in levels)]).astype(float)
    freedom = len(y) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    fitted, *_ = np.linalg.lstsq(design, np.asarray(y, float), rcond=None)
    left = float(np.square(y - design @ fitted).sum()) / freedom
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(left * np.linalg.inv(design.T @ design)[0, 0])
    return float(fitted[0]), float(fitted[0]) - reach, float(fitted[0]) + reach


@dataclass(frozen=True)
class Estimate:
    """A mean over units with all that its interval is made of; every array has the statistic's shape (…).

    value: the estimate. below, above: standard errors over program draws, from
    the percentiles on either side. programs, crossed, units: variances (see the
    module). unit_df, program_df: degrees of freedom of `units` and of the rest.
    `value` and all variances are NaN where the statistic is undefined.
    """

    value: np.ndarray
    below: np.ndarray
    above: np.ndarray
    programs: np.ndarray
    crossed: np.ndarray
    units: np.ndarray
    unit_df: np.ndarray
    program_df: np.ndarray
    confidence: float
    resamples: int
    within: tuple[float, float]  # values that the statistic can take; intervals end there

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval, low and high, each (…); NaN where the statistic is undefined."""
        factor = stdtrit(self._df(), (1 + self.confidence) / 2)
        low, high = self.value - factor * self._error(self.below), self.value + factor * self._error(self.above)
        return np.maximum(low, self.within[0]), np.minimum(high, self.within[1])

    def columns(self, name: str) -> dict[str, float]:
        """A single number with the ends of its interval, as tables have them: `name`, `name_low`, `name_high`."""
        low, high = self.interval()
        return {name: float(self.value), f"{name}_low": float(low), f"{name}_high": float(high)}

    def p_value(self) -> np.ndarray:
        """Two-sided p of "it is 0", (…): below 1 - `confidence` exactly where the interval does not hold 0.

        Never below 2 / (R + 1), since R resamples cannot tell smaller ones. NaN where the statistic is undefined.
        """
        error = self._error(np.where(self.value > 0, self.below, self.above))
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(self.value == 0, 0.0, np.abs(self.value) / error)
        p = np.maximum(2 * stdtr(self._df(), -distance), 2 / (self.resamples + 1))
        return np.where(np.isfinite(error), np.minimum(p, 1.0), np.nan)

    def _shared(self) -> np.ndarray:
        """Share of `programs` that all units have in common."""
        return np.clip(1 - quotient(self.crossed, self.programs, 0.0), 0, 1)

    def _error(self, side: np.ndarray) -> np.ndarray:
        return np.sqrt(self._shared() * side**2 + self.units)

    def _df(self) -> np.ndarray:
        """Satterthwaite's degrees of freedom of the whole variance, with CAUTION."""
        shared = self._shared() * self.programs
        few = self.units * (1 + CAUTION / self.unit_df)
        return quotient((shared + few) ** 2, shared**2 / self.program_df + few**2 / self.unit_df, math.inf)


def estimate(
    values: np.ndarray,
    confidence: float,
    clusters: np.ndarray | int,
    within: tuple[float, float] = ANY,
) -> Estimate:
    """The mean over units of (1 + R, U, …) values, with the variances of its interval.

    `clusters`, to be broadcast over (…), is the number of programs that the statistic is made of.
    Replicates in which it is undefined are left out; a statistic that is undefined in the data or
    in more than a tenth of its replicates is undefined. Without replicates, what they say is undefined.
    """
    values = np.asarray(values, dtype=float)
    resamples, count, shape = len(values) - 1, values.shape[1], values.shape[2:]
    means = values.mean(axis=1)
    defined = np.isfinite(means[1:])
    undefined = ~(np.isfinite(means[0]) & (defined.sum(axis=0) >= 0.9 * resamples))
    clusters = np.broadcast_to(np.asarray(clusters, dtype=float), shape)
    # n units drawn again vary by (n - 1) / n of what they should.
    correction = quotient(clusters, np.maximum(clusters - 1, 0), 1.0)
    low, high = _quantiles(means[1:], defined, confidence)
    z = ndtri((1 + confidence) / 2)
    crossed, units, unit_df = np.zeros(shape), np.zeros(shape), math.inf
    if count > 1:
        own = sum(_variance(values[1:, unit] - means[1:], defined) for unit in range(count))
        crossed = own / (count - 1) / count * correction
        units = values[0].var(axis=0, ddof=1) / count
        unit_df = count - 1
    estimates = {
        "value": means[0],
        "below": np.maximum(means[0] - low, 0) / z * correction**0.5,
        "above": np.maximum(high - means[0], 0) / z * correction**0.5,
        "programs": _variance(means[1:], defined) * correction,
        "crossed": crossed,
        "units": units,
    }
    return Estimate(
        **{name: np.where(undefined, np.nan, array) for name, array in estimates.items()},
        unit_df=np.full(shape, float(unit_df)),
        program_df=np.maximum(clusters - 1, 1),
        confidence=confidence,
        resamples=resamples,
        within=within,
    )


def share_interval(estimate: Estimate, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a share of n independent cases, low and high.

    Wilson's (1927), which holds for rare outcomes and for none at all, where there is one unit; with several
    language models the estimate's own, unless all of them have none or all.
    """
    low, high = estimate.interval()
    share, z = estimate.value, ndtri((1 + estimate.confidence) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(np.maximum(share * (1 - share), 0) / n + (z / (2 * n)) ** 2)
    wilson = np.isinf(estimate.unit_df) | (low == high)
    return np.where(wilson, np.maximum(centre - half, 0), low), np.where(wilson, np.minimum(centre + half, 1), high)


def percentiles(replicates: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of (R, …) replicates, (…) low and high; NaN where over a tenth of them are undefined."""
    defined = np.isfinite(replicates)
    enough = defined.sum(axis=0) >= 0.9 * len(replicates)
    return tuple(np.where(enough, ends, np.nan) for ends in _quantiles(replicates, defined, confidence))


def _quantiles(replicates: np.ndarray, defined: np.ndarray, confidence: float) -> np.ndarray:
    """Percentiles (2, …) of the defined of (R, …) replicates, half of 1 - `confidence` being beyond either."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    if len(replicates) and defined.all():
        return np.quantile(replicates, tails, axis=0)
    bounds = np.full((2, *replicates.shape[1:]), np.nan)
    for index in np.ndindex(replicates.shape[1:]):
        here = (slice(None), *index)
        if defined[here].any():
            bounds[here] = np.quantile(replicates[here][defined[here]], tails)
    return bounds


def _variance(replicates: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Variance of the defined of (R, …) replicates, (…); NaN where there are none."""
    if len(replicates) and defined.all():
        return replicates.var(axis=0)
    count = defined.sum(axis=0)
    mean = replicates.sum(axis=0, where=defined) / np.maximum(count, 1)
    return quotient(np.square(replicates - mean).sum(axis=0, where=defined), count)


def borrow(by_step: dict[int, dict[Hashable, dict[str, Estimate]]]) -> dict[int, dict[Hashable, dict[str, Estimate]]]:
    """Estimates by step, key and column, each with the variance over probe fits that its neighbours have as well.

    Steps are those of one language model, in any order. `units` of each estimate becomes the mean
    over the `WINDOW` steps nearest to it (fewer where there are fewer) that have the same key and column, and
    `unit_df` the sum of theirs, whose units are probes of equal number.
    """
    borrowed = {step: {key: {} for key in found} for step, found in by_step.items()}
    names = {(key, name): None for found in by_step.values() for key, columns in found.items() for name in columns}
    for key, name in names:
        steps = sorted(step for step, found in by_step.items() if name in found.get(key, ()))
        units = np.stack([by_step[step][key][name].units for step in steps])
        for index, step in enumerate(steps):
            first = max(0, min(index - WINDOW // 2, len(steps) - WINDOW))
            near = units[first : first + WINDOW]
            defined = np.isfinite(near)
            count = np.maximum(defined.sum(axis=0), 1)
            mean = np.where(defined, near, 0.0).sum(axis=0) / count
            here = by_step[step][key][name]
            borrowed[step][key][name] = replace(here, units=mean, unit_df=here.unit_df * count)
    return borrowed


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment over the last axis; undefined p are no part of the family.

    The m p-values in rising order are multiplied by m, m - 1, …, 1, made to
    rise, and cut at 1 (Holm 1979).
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    for index in np.ndindex(p.shape[:-1]):
        family = np.flatnonzero(np.isfinite(p[index]))
        order = family[np.argsort(p[index][family], kind="stable")]
        factors = len(order) - np.arange(len(order))
        adjusted[index][order] = np.minimum(1.0, np.maximum.accumulate(p[index][order] * factors))
    return adjusted
