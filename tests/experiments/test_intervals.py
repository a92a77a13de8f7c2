import numpy as np
import pytest

from aa_jax.experiments import intervals
from aa_jax.metrics import frechet


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution():
    """For 400 clips, 1.96 standard errors to either side."""
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = intervals.of_mean(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert (low, high) == intervals.of_mean(values)  # drawn from a fixed seed


def test_longer_clips_count_for_more():
    low, high = intervals.of_mean(np.array([0.0, 1.0] * 20), np.array([1.0, 3.0] * 20))
    assert low < 0.75 < high
    assert low > 0.5


def test_equal_clips_have_no_spread_and_one_clip_no_interval():
    assert intervals.of_mean(np.full(5, 0.1)) == (0.1, 0.1)
    assert intervals.of_mean(np.array([0.1])) is None


@pytest.mark.parametrize("count", [5, 40])
def test_the_quick_distance_is_the_fréchet_distance(count):
    """With fewer samples than dimensions, and with more."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, count, 12)) @ rng.normal(size=(12, 12))
    first, second = frechet.Statistics(12), frechet.Statistics(12)
    first.update(a)
    second.update(b + 0.5)
    expected = frechet.distance(first, second)
    assert intervals.distance(a, b + 0.5) == pytest.approx(expected, rel=1e-6)
    assert intervals.distance(a, a) == pytest.approx(0, abs=1e-9)


def test_an_interval_of_a_distance_lies_around_it():
    rng = np.random.default_rng(0)
    a = list(rng.normal(size=(30, 2, 4)))
    b = [x + 0.5 for x in rng.normal(size=(30, 2, 4))]
    figure = intervals.distance(np.concatenate(a), np.concatenate(b))
    low, high = intervals.of_frechet(a, b, figure)
    assert 0 < low < figure < high
    assert intervals.of_frechet(a, a, 0.0) == pytest.approx((0, 0), abs=1e-9)
