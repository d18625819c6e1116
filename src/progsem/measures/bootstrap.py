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
  and that the units' spread therefore shows as well;
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
0.93 to 0.97 at each of them. Student's t takes language models for normally spread.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from progsem.measures.spread import spread

WINDOW = 5  # checkpoints over which the variance of probe fits is averaged
# A variance of few units that comes out small by chance makes the interval short and its degrees of freedom many;
# so it counts 1 + CAUTION / df times for them. 5 keeps coverage near 93 to 97 % for any df and ratio of variances.
CAUTION = 5
ANY = (-math.inf, math.inf)
SHARE = (0.0, 1.0)
CORRECTED = (-math.inf, 1.0)  # an accuracy, corrected for the majority class
POSITIVE = (0.0, math.inf)


def resampling_weights(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `units` is drawn, float32 of shape (1 + resamples, units).

    Row 0 is all ones. Every other row is one multinomial draw of `units` out of
    `units`, so each sums to `units`.
    """
    drawn = rng.integers(0, units, size=(resamples, units)) + np.arange(resamples)[:, None] * units
    weights = np.bincount(drawn.reshape(-1), minlength=resamples * units).reshape(resamples, units)
    return np.concatenate([np.ones((1, units)), weights]).astype(np.float32)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient; NaN where nothing was counted."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


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
        return np.clip(1 - _quotient(self.crossed, self.programs, 0.0), 0, 1)

    def _error(self, side: np.ndarray) -> np.ndarray:
        return np.sqrt(self._shared() * side**2 + self.units)

    def _df(self) -> np.ndarray:
        """Satterthwaite's degrees of freedom of the whole variance, with CAUTION."""
        shared = self._shared() * self.programs
        few = self.units * (1 + CAUTION / self.unit_df)
        return _quotient((shared + few) ** 2, shared**2 / self.program_df + few**2 / self.unit_df, math.inf)


def _quotient(numerator: np.ndarray, denominator: np.ndarray, otherwise: float) -> np.ndarray:
    """Element-wise quotient; `otherwise` where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, otherwise), where=np.asarray(denominator) != 0)


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
    # Replicates side by side, as they mostly lie in memory already.
    flat = np.moveaxis(values, 0, -1).reshape(count, -1, 1 + resamples)
    data = flat[:, :, 0].reshape(count, *shape)
    of_replicates = spread(flat, 1, confidence)
    defined, low, high, variance, own = (array.reshape(shape) for array in of_replicates)
    value = data.mean(axis=0)
    undefined = ~(np.isfinite(value) & (defined >= 0.9 * resamples))
    clusters = np.broadcast_to(np.asarray(clusters, dtype=float), shape)
    # n units drawn again vary by (n - 1) / n of what they should.
    correction = _quotient(clusters, np.maximum(clusters - 1, 0), 1.0)
    z = ndtri((1 + confidence) / 2)
    crossed, units, unit_df = np.zeros(shape), np.zeros(shape), math.inf
    if count > 1:
        crossed = own / (count - 1) / count * correction
        units = data.var(axis=0, ddof=1) / count
        unit_df = count - 1
    estimates = {
        "value": value,
        "below": np.maximum(value - low, 0) / z * correction**0.5,
        "above": np.maximum(high - value, 0) / z * correction**0.5,
        "programs": variance * correction,
        "crossed": crossed,
        "units": units,
    }
    if undefined.any():
        estimates = {name: np.where(undefined, np.nan, array) for name, array in estimates.items()}
    return Estimate(
        **estimates,
        unit_df=np.full(shape, float(unit_df)),
        program_df=np.maximum(clusters - 1, 1),
        confidence=confidence,
        resamples=resamples,
        within=within,
    )


def together(estimates: list[Estimate], shape: tuple[int, ...]) -> Estimate:
    """Several estimates as one, (n, *shape), to which each is broadcast: their intervals take as long as one's."""
    first = estimates[0]
    arrays = "value below above programs crossed units unit_df program_df".split()
    return Estimate(
        **{name: np.stack([_as_wide(getattr(one, name), shape) for one in estimates]) for name in arrays},
        confidence=first.confidence,
        resamples=first.resamples,
        within=tuple(np.reshape([one.within[end] for one in estimates], (-1, *[1] * len(shape))) for end in range(2)),
    )


def _as_wide(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return array if array.shape == shape else np.broadcast_to(array, shape)  # which takes longer than the comparison


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
    flat = np.moveaxis(replicates, 0, -1).reshape(1, -1, len(replicates))
    found = spread(flat, 0, confidence)
    low, high = (
        np.where(found.defined >= 0.9 * len(replicates), ends, np.nan).reshape(replicates.shape[1:])
        for ends in (found.low, found.high)
    )
    return low, high


def borrow(by_step: dict[int, dict[Hashable, Estimate]]) -> dict[int, dict[Hashable, Estimate]]:
    """Estimates by step and key, each with the variance over probe fits that its neighbours have as well.

    Steps are those of one language model, in any order. `units` of each estimate becomes the mean
    over the `WINDOW` steps nearest to it (fewer where there are fewer) that have the same key, and
    `unit_df` the sum of theirs, whose units are probes of equal number.
    """
    borrowed = {step: {} for step in by_step}
    keys = dict.fromkeys(key for estimates in by_step.values() for key in estimates)
    for key in keys:
        steps = sorted(step for step, estimates in by_step.items() if key in estimates)
        units = np.stack([by_step[step][key].units for step in steps])
        for index, step in enumerate(steps):
            first = max(0, min(index - WINDOW // 2, len(steps) - WINDOW))
            near = units[first : first + WINDOW]
            defined = np.isfinite(near)
            count = np.maximum(defined.sum(axis=0), 1)
            mean = np.where(defined, near, 0.0).sum(axis=0) / count
            here = by_step[step][key]
            borrowed[step][key] = replace(here, units=mean, unit_df=here.unit_df * count)
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


def entropy_bits(counts: np.ndarray) -> float:
    """Shannon entropy of the distribution that `counts` describe, in bits; 0 for no or one outcome."""
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return 0.0
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@dataclass(frozen=True)
class Line:
    """A straight line through n points; NaN where they do not determine one.

    correlation: of x and y. n_effective: how many independent points would determine it as well.
    """

    n: int
    n_effective: float
    slope: float
    intercept: float
    correlation: float
    slope_error: float
    intercept_error: float
    intercept_df: float

    @property
    def r2(self) -> float:
        """The squared correlation."""
        return self.correlation**2

    def intervals(self, confidence: float) -> dict[str, tuple[float, float]]:
        """Low and high of slope, intercept and r2, by Student's t with n_effective - 2 degrees of freedom.

        That of r2 comes from the correlation's, by Fisher's z.
        """
        df = max(self.n_effective - 2, 1.0)
        factor, wider = stdtrit([df, self.intercept_df], (1 + confidence) / 2).tolist()
        ends = {
            "slope": (self.slope - factor * self.slope_error, self.slope + factor * self.slope_error),
            "intercept": (self.intercept - wider * self.intercept_error, self.intercept + wider * self.intercept_error),
        }
        z = fisher_z(self.correlation)
        return ends | {"r2": r2_interval(z - factor / df**0.5, z + factor / df**0.5)}


NO_LINE = (math.nan,) * 7


def regress(x: np.ndarray, y: np.ndarray, independent: bool = False) -> Line:
    """Ordinary least squares of `y` on `x`, both of shape (n,), in the order of training unless `independent`.

    Undefined (NaN) below three points, or if either is constant. Neighbouring checkpoints resemble each
    other, and n of them are worth n (1 - a b) / (1 + a b) independent points, a and b being the lag-1
    autocorrelations of x and of the residuals (Bartlett 1935; Bretherton et al. 1999), corrected for
    the bias that small n gives them (Kendall 1954).

    Of AR(1) series with lag-1 autocorrelation 0, 0.5 and 0.9, intervals of the slope hold the truth in a share
    of 0.96, 0.94 and 0.89 for 11 points, 0.95, 0.94 and 0.93 for 38; those of R² in 0.97 to 0.94 and 0.95 to 0.94;
    those of the intercept in 0.97, 0.88 and 0.76, and 0.96, 0.92 and 0.86 (moving blocks, the slope: 0.84 to 0.83,
    and 0.90 to 0.70; independent points: 0.95 to 0.76, and 0.95 to 0.55).
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Line(n, *NO_LINE)
    dx, dy = x - x.mean(), y - y.mean()
    spread = dx @ dx
    slope = (dx @ dy) / spread
    residuals = dy - slope * dx
    of_x, of_residuals = (0.0, 0.0) if independent else (_lag_1(dx), _lag_1(residuals))
    alike = np.clip(of_x * of_residuals, 0, 0.95)
    effective = n * (1 - alike) / (1 + alike)
    variance = (residuals @ residuals) / max(effective - 2, 1)
    slope_error = (variance / spread) ** 0.5
    # The mean of y, at the mean of x, sees the residuals alone.
    repeated = np.clip(of_residuals, 0, 0.95)
    of_mean = n * (1 - repeated) / (1 + repeated)
    mean_error = (variance * effective / n / of_mean) ** 0.5
    return Line(
        n=n,
        n_effective=float(effective),
        slope=float(slope),
        intercept=float(y.mean() - slope * x.mean()),
        correlation=float((dx @ dy) / (spread * (dy @ dy)) ** 0.5),
        slope_error=float(slope_error),
        intercept_error=float(math.hypot(mean_error, x.mean() * slope_error)),
        intercept_df=float(max(min(effective, of_mean) - 2, 1)),
    )


def _lag_1(deviations: np.ndarray) -> float:
    """Lag-1 autocorrelation, with Kendall's correction of its bias."""
    n, whole = len(deviations), deviations @ deviations
    if whole == 0:
        return 0.0
    r = (deviations[1:] @ deviations[:-1]) / whole
    return float(np.clip(r + (1 + 3 * r) / n, -0.99, 0.99))


def fisher_z(correlation: np.ndarray | float) -> np.ndarray | float:
    """Fisher's z, on which a correlation's error does not depend on its value; finite for 1 as well."""
    return np.arctanh(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))


def r2_interval(low: float, high: float) -> tuple[float, float]:
    """Ends of r2, from those of Fisher's z."""
    ends = math.tanh(low) ** 2, math.tanh(high) ** 2
    return (0.0 if low <= 0 <= high else min(ends)), max(ends)


def student_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Interval of the mean of a few independent values (M,), NaN for one."""
    if len(values) < 2:
        return math.nan, math.nan
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * (np.var(values, ddof=1) / len(values)) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def block_length(points: int) -> int:
    """Length of a moving block over `points` successive checkpoints: the cube root, rounded up, at least 2."""
    return min(max(points, 1), max(2, math.ceil(round(points ** (1 / 3), 9))))


def block_weights(points: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `points` successive checkpoints is drawn in blocks, float64 (1 + resamples, points).

    A resample is enough blocks of `block_length(points)` neighbours, with
    starts drawn uniformly, cut to `points` draws (Künsch 1989). Row 0 is all ones.
    """
    length = block_length(points)
    blocks = math.ceil(points / length)
    starts = rng.integers(0, points - length + 1, size=(resamples, blocks, 1))
    drawn = (starts + np.arange(length)).reshape(resamples, -1)[:, :points]
    places = (np.arange(resamples)[:, None] * points + drawn).reshape(-1)
    weights = np.bincount(places, minlength=resamples * points).reshape(resamples, points)
    return np.concatenate([np.ones((1, points)), weights])


def regress_blocks(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moving-block bootstrap of a regression over the checkpoints of one training, in their order.

    `weights` are those of `block_weights`. Returns slope and correlation, each (1 + R,), NaN where undefined.
    Percentiles of a dozen points drawn in blocks are too narrow: `Line.intervals` is what is quoted.
    """
    x, y = np.asarray(x, dtype=float) - np.mean(x), np.asarray(y, dtype=float) - np.mean(y)
    terms = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    n, sum_x, sum_y, xx, yy, xy = (weights @ terms).T
    # A resample that repeats one point has no line through it; rounding leaves its variance just off 0.
    variance_x = _positive(xx - sum_x**2 / n, 1e-9 * xx[0])
    variance_y = _positive(yy - sum_y**2 / n, 1e-9 * yy[0])
    covariance = xy - sum_x * sum_y / n
    if len(x) < 3:
        variance_x[:] = np.nan
    return covariance / variance_x, covariance / np.sqrt(variance_x * variance_y)


def _positive(values: np.ndarray, smallest: float) -> np.ndarray:
    return np.where(values > smallest, values, np.nan)


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
