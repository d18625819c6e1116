"""Resamples and their totals, against products the slow way and what multinomial draws are like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resamples import totals, weights_of

from progsem.measures.resampling import FRACTION, Resamples, resampling_weights


@settings(deadline=None, max_examples=40)
@given(
    programs=st.integers(1, 130),
    resamples=st.integers(1, 40),
    most=st.sampled_from([1, 3, 300, 2**20, 2**40]),
    seed=st.integers(0, 1000),
)
def test_totals_are_sums_of_drawn_programs(programs, resamples, most, seed):
    """Exactly, also where they need more bits than a float32 has."""
    weights = weights_of(programs, resamples, np.random.default_rng(seed))
    drawn = Resamples(resampling_weights(programs, resamples, np.random.default_rng(seed)))
    numbers = np.random.default_rng(seed).integers(0, most + 1, size=(programs, 3, 25))
    numbers[..., 0] %= 2
    found = drawn.totals(numbers)
    assert found.shape == (1 + resamples, 3, 25) and found.dtype == float
    expected = weights.astype(np.int64) @ numbers.reshape(programs, -1)
    np.testing.assert_array_equal(found.reshape(len(found), -1), expected)
    np.testing.assert_array_equal(drawn.data_alone().totals(numbers), found[:1])


def test_real_numbers_are_added_to_nine_digits():
    """And to the same ones in whatever order."""
    weights = resampling_weights(500, 300, np.random.default_rng(0))
    numbers = np.random.default_rng(3).normal(-20, 10, size=(500, 4))
    numbers[:, 3] = 1e9 * np.arange(500)
    found = Resamples(weights).totals(numbers)
    assert found == pytest.approx(totals(weights.astype(float), numbers), rel=1e-12, abs=500 * 2.0**-FRACTION)
    order = np.random.default_rng(4).permutation(500)
    np.testing.assert_array_equal(Resamples(weights[:, order]).totals(numbers[order]), found)
    assert (Resamples(weights).totals(np.full((500, 1), -0.125)) == -0.125 * 500).all()


def test_draws_are_multinomial():
    """Each program is in a resample once on average; drawn more often, others are less."""
    count, resamples = 12, 20_000
    weights = resampling_weights(count, resamples, np.random.default_rng(4))
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == count).all()
    assert weights[1:].mean(axis=0) == pytest.approx(np.ones(count), abs=0.04)
    covariance = np.eye(count) - 1 / count
    np.testing.assert_allclose(np.cov(weights[1:].T), covariance, atol=0.04)
    chances = np.bincount(weights[1:].astype(int).ravel(), minlength=4)[:4] / weights[1:].size
    binomial = [11**12, 12 * 11**11, 66 * 11**10, 220 * 11**9]
    assert chances == pytest.approx(np.array(binomial) / 12**12, abs=0.005)


def test_some_of_the_programs_are_drawn_as_all_were():
    """A resample has more or fewer of them, so that the mean of what is the same for all is that, in each."""
    some = resampling_weights(500, 300, np.random.default_rng(0))[:, :60]
    numbers = np.random.default_rng(3).normal(7, 1, size=(60, 2))
    assert Resamples(some).totals(numbers) == pytest.approx(some.astype(float) @ numbers, rel=1e-7)
    assert Resamples(some).totals(np.ones((60, 1)))[:, 0].tolist() == some.sum(axis=1).tolist()
