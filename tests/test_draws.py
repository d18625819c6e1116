"""Resamples and their totals, against weights and products the slow way; what they spread, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resamples import totals, weights_of

from progsem.measures import draws, spread


def both(programs, resamples, seed=0):
    """The same draws, as weights and as they are used."""
    weights = weights_of(programs, resamples, np.random.default_rng(seed))
    return weights, draws.Draws.of(programs, resamples, np.random.default_rng(seed))


@settings(deadline=None, max_examples=40)
@given(
    programs=st.integers(1, 130),
    resamples=st.integers(1, 40),
    most=st.sampled_from([1, 3, draws.LARGEST, draws.LARGEST + 1, 300, 2**20]),
    seed=st.integers(0, 1000),
)
def test_totals_are_sums_of_drawn_programs(programs, resamples, most, seed):
    weights, drawn = both(programs, resamples, seed)
    sums = np.random.default_rng(seed).integers(0, most + 1, size=(programs, 3, 25))
    sums[..., 0] %= 2
    found = drawn.totals(sums)
    assert found.shape == (1 + resamples, 3, 25) and found.dtype.kind == "i"
    np.testing.assert_array_equal(found, totals(weights, sums))


@pytest.mark.parametrize("most", [2, draws.LARGEST])
def test_totals_of_many_resamples_and_programs(most):
    """More of both than are added in one go, with and without sums of half a block that need more than 8 bits."""
    weights, drawn = both(3000, 300)
    sums = np.random.default_rng(1).integers(most - 1, most + 1, size=(3000, 5))
    np.testing.assert_array_equal(drawn.totals(sums), totals(weights, sums))
    weights, drawn = both(50, draws.SLICE + 100)
    sums = np.random.default_rng(2).integers(0, most + 1, size=(50, 70), dtype=np.uint8)
    np.testing.assert_array_equal(drawn.totals(sums), totals(weights, sums))


def test_numbers_that_come_again():
    """Counts of the second and later calls, of which some were asked for before, at other places and more than once."""
    weights, drawn = both(90, 40)
    rng = np.random.default_rng(5)
    again = rng.integers(0, 4, size=(90, 3))
    for call in range(4):
        sums = np.concatenate([rng.integers(0, 4, size=(90, call)), again, again[:, :1]], axis=1)
        np.testing.assert_array_equal(drawn.totals(sums), totals(weights, sums))


def test_a_program_that_is_drawn_very_often():
    """One program of one: each draw beyond the third is in the list of those that are added once more."""
    drawn = draws.Draws.of(2, 4000, np.random.default_rng(0))
    assert (drawn.totals(np.ones(2, int)) == 2).all()
    crowded = draws.Draws(2, drawn.codes[:, :1], np.array([0, 20_000]), np.zeros(20_000, np.int64))
    assert crowded.totals(np.array([draws.LARGEST, 1])).tolist() == [draws.LARGEST * 20_001 + 1]


def test_real_numbers_are_added_to_nine_digits():
    weights, drawn = both(500, 50)
    sums = np.random.default_rng(3).normal(-20, 10, size=(500, 4))
    sums[:, 3] = 1e9 * np.arange(500)
    found = drawn.totals(sums)
    assert found == pytest.approx(totals(weights, sums), rel=1e-12, abs=500 * 2.0**-draws.FRACTION)
    assert (drawn.totals(np.full((500, 1), -0.125)) == -0.125 * 500).all()


def test_draws_are_multinomial():
    """Each program is in a resample once on average; drawn more often, others are less."""
    count, resamples = 12, 20_000
    drawn = draws.Draws.of(count, resamples, np.random.default_rng(4))
    weights = drawn.totals(np.eye(count, dtype=int))
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == count).all()
    assert weights[1:].mean(axis=0) == pytest.approx(np.ones(count), abs=0.04)
    covariance = np.eye(count) - 1 / count
    np.testing.assert_allclose(np.cov(weights[1:].T), covariance, atol=0.04)
    chances = np.bincount(weights[1:].ravel(), minlength=4)[:4] / weights[1:].size
    binomial = [11**12, 12 * 11**11, 66 * 11**10, 220 * 11**9]
    assert chances == pytest.approx(np.array(binomial) / 12**12, abs=0.005)


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("resamples", [1, 2, 150, 2001])
def test_how_replicates_spread(units, resamples):
    rng = np.random.default_rng(units)
    values = rng.normal(size=(units, 6, 1 + resamples)) + np.arange(6)[:, None]
    values[:, 1] = 0.25  # the same in every replicate
    values[:, 2] = np.round(values[:, 2])  # few different values
    values[:, 3] = rng.pareto(1, values[:, 3].shape)  # far from bell-shaped
    values[0, 4, 1::3] = np.nan
    values[:, 5] = np.nan
    found = spread.spread(values, 1, 0.95)
    means = values[:, :, 1:].mean(axis=0)
    assert found.defined.tolist() == np.isfinite(means).sum(axis=1).tolist()
    for index in range(5):
        there = np.isfinite(means[index])
        if not there.any():
            continue
        kept = means[index][there]
        low, high = np.quantile(kept, [0.025, 0.975])
        assert (found.low[index], found.high[index]) == (pytest.approx(low), pytest.approx(high))
        assert found.variance[index] == pytest.approx(kept.var(), rel=1e-9, abs=1e-12)
        own = (values[:, index, 1:][:, there] - kept).var(axis=1).sum()
        assert found.own[index] == pytest.approx(own, rel=1e-9, abs=1e-12)
    assert np.isnan([found.low[5], found.high[5], found.variance[5], found.own[5]]).all()
