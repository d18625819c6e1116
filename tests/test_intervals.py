"""Do 95 % intervals hold the truth 95 times in 100? Simulated studies in which the truth is known.

Every simulation repeats a small study thousands of times at once: the statistic's shape (…) in `intervals.estimate`
are the repetitions, and the resamples of programs are the same for all of them, which are independent of the data.
Seeds are fixed. With N repetitions, coverage is known to within 1.96 sqrt(0.05 * 0.95 / N), 0.7 points for 4 000.
"""

import numpy as np
import pytest
from resamples import totals, weights_of
from scipy.stats import binom

from progsem.measures import content, generation, intervals, lines

CONFIDENCE = 0.95
RESAMPLES = 300
LOWEST, HIGHEST = 0.93, 0.97


def coverage(estimate, truth):
    low, high = estimate.interval()
    return float(np.mean((low <= truth) & (truth <= high)))


def effects(rng, sd, *shape):
    """Bell-shaped draws with mean 0 and this standard deviation, within 3 of them: no chance leaves [0, 1]."""
    return rng.uniform(-1, 1, (3, *shape)).sum(axis=0) * sd


def borrowed(series):
    """Estimates by step and name, with the variance of fits that neighbouring steps lend."""
    lent = intervals.borrow({step: {"states": estimates} for step, estimates in series.items()})
    return {step: found["states"] for step, found in lent.items()}


class Answers:
    """How many states of each program each probe gets right, in `studies` studies of P programs at once.

    A program has 1 to 6 states. Some (a third) are right or wrong whichever probe is asked, with a chance that
    varies over programs; the others each probe answers for itself, with a chance that differs between the M language
    models and between the S probes of each. `programs`, `lms` and `fits` are the standard deviations of these
    chances, whose mean is 0.55.
    """

    MEAN = 0.55

    def __init__(self, rng, studies, *, count=200, models=1, probes=2, programs=0.1, fits=0.0, lms=0.0):
        self.sizes = rng.integers(1, 7, size=count)
        common = rng.binomial(self.sizes, 1 / 3)
        chance = self.MEAN + effects(rng, programs, count, 1, 1, studies)
        shared = rng.binomial(common[:, None, None, None], chance)
        of_models = effects(rng, lms, models, 1, studies)
        chance = self.MEAN + of_models + effects(rng, fits, models, probes, studies)
        own = rng.binomial((self.sizes - common)[:, None, None, None], chance, (count, models, probes, studies))
        self.right = (shared + own).astype(float)  # (P, M, S, studies)

    def values(self, weights):
        """Accuracies (1 + R, M, S, studies)."""
        return totals(weights, self.right) / totals(weights, self.sizes)[:, None, None, None]


def draws(rng, count):
    return weights_of(count, RESAMPLES, rng)


def of_probes(values, count):
    """Estimate of the one language model in (1 + R, 1, S, studies) values."""
    return intervals.estimate(values[:, 0], CONFIDENCE, count, intervals.SHARE)


def of_models(values, count):
    """Estimate over language models, each the mean of its probes."""
    return intervals.estimate(values.mean(axis=2), CONFIDENCE, count, intervals.SHARE)


# Standard deviations of probes or language models that are nothing, about as much or much more than programs' part.
FEW = (0.0, 0.025, 0.07)


@pytest.mark.parametrize("probes", [2, 5])
@pytest.mark.parametrize("fits", FEW)
def test_probes_of_one_language_model(probes, fits):
    """Over five checkpoints, which lend each other the variance of their fits."""
    rng = np.random.default_rng(1)
    weights = draws(rng, 200)
    series = {
        step: {"accuracy": of_probes(Answers(rng, 2500, probes=probes, fits=fits).values(weights), 200)}
        for step in range(5)
    }
    covered = [coverage(one["accuracy"], Answers.MEAN) for one in borrowed(series).values()]
    assert LOWEST <= np.mean(covered) <= HIGHEST


@pytest.mark.parametrize("rising", [True, False])
def test_fits_that_vary_more_at_one_end_of_the_training(rising):
    """Standard deviations over fits that double within twelve checkpoints; two probes, fits dominate."""
    rng = np.random.default_rng(2)
    weights = draws(rng, 200)
    spread = np.geomspace(0.035, 0.07, 12)[:: 1 if rising else -1]
    series = {
        step: {"accuracy": of_probes(Answers(rng, 1500, fits=fits).values(weights), 200)}
        for step, fits in enumerate(spread)
    }
    covered = [coverage(one["accuracy"], Answers.MEAN) for one in borrowed(series).values()]
    assert LOWEST <= np.mean(covered) <= HIGHEST
    assert min(covered) >= 0.91  # at the noisy end, whose neighbours vary less


@pytest.mark.parametrize(("models", "probes"), [(2, 2), (3, 2), (3, 5)])
@pytest.mark.parametrize("fits", [0.0, 0.07])
@pytest.mark.parametrize("lms", FEW)
def test_several_language_models(models, probes, fits, lms):
    rng = np.random.default_rng(3)
    weights = draws(rng, 200)
    answers = Answers(rng, 4000, models=models, probes=probes, fits=fits, lms=lms)
    covered = coverage(of_models(answers.values(weights), 200), Answers.MEAN)
    # Two language models have one degree of freedom, of which little can be made.
    assert (0.92 if models == 2 else LOWEST) <= covered <= HIGHEST


def test_a_single_probe_leaves_the_programs():
    rng = np.random.default_rng(4)
    values = Answers(rng, 4000, probes=1).values(draws(rng, 200))
    estimate = of_probes(values, 200)
    assert LOWEST <= coverage(estimate, Answers.MEAN) <= HIGHEST
    # Nothing but Student's factor and n / (n - 1) for 200 programs beside the percentiles.
    low, high = np.quantile(values[1:, 0, 0], [0.025, 0.975], axis=0)
    assert (estimate.interval()[0] < low).all() and (estimate.interval()[1] > high).all()
    assert np.mean((high - low) / np.subtract(*estimate.interval()[::-1])) > 0.98


def test_few_programs():
    rng = np.random.default_rng(5)
    values = Answers(rng, 4000, count=15, fits=0.02).values(draws(rng, 15))
    assert LOWEST <= coverage(intervals.estimate(values[:, 0, :1], CONFIDENCE, 15), Answers.MEAN) <= HIGHEST


class Compared:
    """Original and alternatives on the same programs, as `content_of` has them; the studies are its features.

    Programs are as hard under every semantics. All probes of one semantics answer two thirds of the states alike.
    """

    MAJORITY = 0.4

    def __init__(self, rng, weights, studies, gaps, *, probes=2, fits=0.03):
        count = weights.shape[1]
        sizes = rng.integers(1, 7, size=count)
        common = rng.binomial(sizes, 2 / 3)[:, None]
        most_frequent = rng.binomial(sizes[:, None], self.MAJORITY, (count, studies))
        states = np.broadcast_to(sizes[:, None], most_frequent.shape)
        chances = 0.65 + effects(rng, 0.08, count, studies)
        self.contents = []
        for gap in (0.0, *gaps):
            shared = rng.binomial(common, chances - gap)[..., None]
            own = rng.binomial(
                sizes[:, None, None] - common[..., None], 0.65 - gap + effects(rng, fits, studies, probes)
            )
            sums = np.concatenate([np.stack([states, most_frequent], axis=2), shared + own], axis=2)
            counted = totals(weights, sums)
            self.contents.append(content.content_of(counted, np.full(studies, count), probes))

    @classmethod
    def corrected(cls, gap):
        """Corrected accuracy in truth."""
        return (0.65 - gap - cls.MAJORITY) / (1 - cls.MAJORITY)

    def differences(self):
        """Estimates of the differences from each alternative, one a study."""
        original, *alternatives = (one.corrected[:, :, :-1, 0] for one in self.contents)
        return [intervals.estimate(original - one, CONFIDENCE, self.contents[0].programs[0]) for one in alternatives]


def compared_over_training(seed, studies, gaps, **options):
    """The estimates of `Compared.differences` at one of five checkpoints, [alternative]."""
    rng = np.random.default_rng(seed)
    weights = draws(rng, 150)
    series = {
        step: dict(enumerate(Compared(rng, weights, studies, gaps, **options).differences())) for step in range(5)
    }
    return list(borrowed(series)[4].values())


@pytest.mark.parametrize("fits", [0.0, 0.08])
def test_corrected_accuracies_and_their_paired_differences(fits):
    rng = np.random.default_rng(6)
    weights = draws(rng, 150)
    accuracies = {}
    for step in range(5):
        one = Compared(rng, weights, 1500, [], fits=fits).contents[0]
        accuracies[step] = {"corrected": intervals.estimate(one.corrected[:, :, :-1, 0], CONFIDENCE, 150)}
    covered = [coverage(one["corrected"], Compared.corrected(0)) for one in borrowed(accuracies).values()]
    assert LOWEST <= np.mean(covered) <= HIGHEST
    (difference,) = compared_over_training(7, 3000, [0.04], fits=fits)
    truth = Compared.corrected(0) - Compared.corrected(0.04)
    assert LOWEST <= coverage(difference, truth) <= HIGHEST
    if fits == 0:
        # Paired: programs that are hard under one semantics are under the other.
        (single, paired) = (
            np.subtract(*one.interval()[::-1]).mean() for one in (accuracies[4]["corrected"], difference)
        )
        assert paired < 0.9 * 2**0.5 * single


def test_p_agrees_with_the_interval():
    estimates = compared_over_training(8, 800, [0.0, 0.03, 0.25])
    for estimate, found in zip(estimates, (0.05, 0.2, 1.0), strict=True):
        low, high = estimate.interval()
        p = estimate.p_value()
        assert ((p < 0.05) == ((low > 0) | (high < 0))).all()
        assert (p > 0).all() and (p <= 1).all()
        assert np.mean(p < 0.05) == pytest.approx(found, abs=0.15)


def test_no_gap_is_found_where_there_is_none():
    """After Holm, at least one of five equal alternatives is called different in at most 5 studies of 100."""
    p = np.stack([one.p_value() for one in compared_over_training(9, 1500, [0.0] * 5)], axis=-1)
    assert np.mean((intervals.holm(p) < 0.05).any(axis=-1)) <= 0.05 + 1.96 * (0.05 * 0.95 / 1500) ** 0.5


def test_a_gap_is_found():
    """12 points of raw accuracy, 150 programs, 2 probes that differ by 2: nine times in ten, Holm over five."""
    estimates = compared_over_training(10, 1000, [0.12, 0.0, 0.0, 0.0, 0.0], fits=0.02)
    adjusted = intervals.holm(np.stack([one.p_value() for one in estimates], axis=-1))
    assert np.mean(adjusted[:, 0] < 0.05) >= 0.9
    assert np.mean((adjusted[:, 1:] < 0.05).any(axis=-1)) <= 0.05 + 1.96 * (0.05 * 0.95 / 1000) ** 0.5


@pytest.mark.parametrize("models", [1, 3])
def test_mean_lengths_of_correct_programs_and_perplexities(models):
    rng = np.random.default_rng(11)
    count, studies = 300, 3000
    weights = draws(rng, count)
    # One language model is what is asked about; three are a sample of those that might have been.
    differ = 0.0 if models == 1 else 1.0
    lengths = rng.integers(1, 5, size=(count, 1, studies))
    solved = rng.random((count, models, studies)) < 0.9 - 0.15 * lengths + effects(rng, 0.03 * differ, models, studies)
    nats = rng.gamma(2, 0.4, (count, 1, studies)) * (1 + effects(rng, 0.1 * differ, models, studies))
    length, right, surprise, tokens = (
        totals(weights, array) for array in (solved * lengths, solved, lengths * nats, lengths)
    )
    chances = 0.9 - 0.15 * np.arange(1, 5)
    mean_length = intervals.estimate(length / right, CONFIDENCE, int(count * chances.mean()))
    assert LOWEST <= coverage(mean_length, (chances @ np.arange(1, 5)) / chances.sum()) <= HIGHEST
    perplexity = intervals.estimate(np.exp(surprise / tokens), CONFIDENCE, count)
    assert LOWEST <= coverage(perplexity, np.exp(0.8)) <= HIGHEST


def test_shares_of_specifications():
    """Also of rare and of all specifications, where resamples show little or no spread."""
    n = 1000
    for expected in (0.5, 4, 20, 500, 990, 999.5):
        successes = np.arange(n + 1)
        chances = binom.pmf(successes, n, expected / n)
        estimate = intervals.estimate(np.tile(successes / n, (3, 1, 1)), CONFIDENCE, n, intervals.SHARE)
        low, high = intervals.share_interval(estimate, n)
        assert 0.90 <= chances[(low <= expected / n) & (expected / n <= high)].sum() <= 0.99
        assert low[0] == pytest.approx(0, abs=1e-12) and high[-1] == pytest.approx(1)
        assert high[0] > 3 / n and low[-1] < 1 - 3 / n


def test_diversity():
    """Entropy and share of distinct programs: intervals of what such samples have on average, rather wide."""
    rng = np.random.default_rng(12)
    chances = 1 / np.arange(1, 401)
    weights = draws(rng, 250)
    values = {"distinct": [], "entropy_bits": []}
    for _ in range(1500):
        programs = rng.choice(400, size=(250, 1), p=chances / chances.sum())
        for name, each in generation.pseudo_values(programs).items():
            values[name].append(weights @ each / 250)
    for replicates in values.values():
        estimate = intervals.estimate(np.stack(replicates, axis=1)[:, None], CONFIDENCE, 250)
        assert LOWEST <= coverage(estimate, estimate.value.mean()) <= 0.985


# ------------------------------------------- regressions over checkpoints


def autocorrelated(rng, phi, studies, points):
    """Stationary AR(1) series (studies, points) with variance 1."""
    series = rng.normal(size=(studies, points))
    for point in range(1, points):
        series[:, point] = phi * series[:, point - 1] + (1 - phi**2) ** 0.5 * series[:, point]
    return series


def held(ends, truth):
    low, high = np.transpose(ends)
    return np.mean((low <= truth) & (truth <= high))


CORRELATION = 0.7


def fitted_lines(phi, points, studies=3000):
    """Series x and y with slope and correlation 0.7, and the lines through them."""
    rng = np.random.default_rng(13)
    x, noise = (autocorrelated(rng, phi, studies, points) for _ in range(2))
    y = CORRELATION * x + (1 - CORRELATION**2) ** 0.5 * noise
    return x, y, [lines.regress(*pair) for pair in zip(x, y, strict=True)]


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("points", [11, 38])
def test_lines_through_autocorrelated_checkpoints(points, phi):
    _, _, fitted = fitted_lines(phi, points)
    ends = [line.intervals(CONFIDENCE) for line in fitted]
    slope = held([one["slope"] for one in ends], CORRELATION)
    r2 = held([one["r2"] for one in ends], CORRELATION**2)
    intercept = held([one["intercept"] for one in ends], 0.0)
    # A few checkpoints that resemble each other that much cannot tell how much they do, least of all of their mean.
    assert {0.0: LOWEST, 0.5: 0.92, 0.9: 0.87}[phi] <= slope <= HIGHEST
    assert (0.92 if phi == 0.9 else LOWEST) <= r2 <= 0.985
    assert {0.0: LOWEST, 0.5: 0.86, 0.9: 0.74}[phi] <= intercept <= 0.985


def test_independent_points_are_not_what_checkpoints_are():
    x, y, _ = fitted_lines(0.9, 38, 400)
    independent = [lines.regress(*pair, independent=True) for pair in zip(x, y, strict=True)]
    assert held([line.intervals(CONFIDENCE)["slope"] for line in independent], CORRELATION) < 0.65


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_lines_of_several_language_models(phi):
    """Student's interval of the mean of three slopes, whatever the checkpoints' dependence."""
    _, _, fitted = fitted_lines(phi, 11, 3000)
    slopes = np.array([line.slope for line in fitted]).reshape(-1, 3)
    assert LOWEST <= held([lines.student_interval(three, CONFIDENCE) for three in slopes], CORRELATION) <= HIGHEST
    z = np.array([lines.fisher_z(line.correlation) for line in fitted]).reshape(-1, 3)
    r2 = [lines.r2_interval(*lines.student_interval(three, CONFIDENCE)) for three in z]
    assert 0.92 <= held(r2, CORRELATION**2) <= HIGHEST
