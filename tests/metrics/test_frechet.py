import numpy as np
import pytest

from aa_jax.metrics import frechet
from aa_jax.metrics.errors import MetricError
from aa_jax.metrics.frechet import Statistics, distance


def statistics(x, parts=1):
    made = Statistics(x.shape[1])
    for part in np.array_split(x, parts):
        made.update(part)
    return made


def samples(n, d, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + shift


def test_batches_give_the_statistics_of_the_whole():
    x = samples(50, 6, shift=1e4)
    made = statistics(x, parts=7)
    np.testing.assert_allclose(made.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(made.covariance, np.cov(x.T), rtol=1e-9)
    assert made.count == 50


def test_diagonal_covariances_have_a_distance_in_closed_form():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 400, 4)) * np.array([[[1.0]], [[3.0]]])
    a, b = statistics(x), statistics(y)
    a._scatter, b._scatter = np.diag(np.diag(a._scatter)), np.diag(np.diag(b._scatter))
    deviations = [np.sqrt(np.diag(s.covariance)) for s in (a, b)]
    expected = np.square(a.mean - b.mean).sum() + np.square(deviations[0] - deviations[1]).sum()
    assert distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_the_eigenvalues_of_the_product():
    """The product A B is not symmetric, but has the same eigenvalues; float64 to 1e-9."""
    x, y = samples(300, 20), samples(200, 20, seed=1, shift=0.5)
    a, b = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(a @ b).real)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b) - 2 * roots.sum()
    assert distance(statistics(x), statistics(y)) == pytest.approx(expected, rel=1e-9)


def test_is_zero_for_equal_sets_and_symmetric():
    a, b = statistics(samples(300, 20)), statistics(samples(300, 20, seed=1))
    assert distance(a, a) == 0.0
    assert distance(a, statistics(samples(300, 20))) == 0.0
    assert distance(a, b) == distance(b, a) > 0.0


def test_fewer_samples_than_dimensions_stay_stable_and_are_warned_of(capsys):
    """Both sets lie in planes of 4 dimensions: the product has 4 eigenvalues besides zeros."""
    x, y = samples(5, 60), samples(5, 60, seed=1)
    x -= x.mean(0)
    y -= y.mean(0)
    overlap = np.linalg.svd(x @ y.T / 4, compute_uv=False).sum()  # tr of the root, by its factors
    expected = np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)) - 2 * overlap
    assert distance(statistics(x), statistics(y), name="FVD") == pytest.approx(expected, rel=1e-9)
    assert "warning: FVD of n = 5 and 5 samples in 60 dimensions" in capsys.readouterr().err


def test_large_ones_are_computed_by_jax(monkeypatch):
    x, y = samples(60, 40), samples(60, 40, seed=1)
    by_numpy = distance(statistics(x), statistics(y))
    monkeypatch.setattr(frechet, "LARGE", 1)
    assert distance(statistics(x), statistics(y)) == pytest.approx(by_numpy, rel=1e-10)


def test_what_is_no_distribution_is_refused():
    one = statistics(samples(1, 3))
    with pytest.raises(MetricError, match="2 samples at least; there are 1"):
        distance(one, one)
    with pytest.raises(MetricError, match="3 and 4 numbers"):
        distance(one, statistics(samples(9, 4)))
    with pytest.raises(MetricError, match="NaN"):
        Statistics(2).update(np.array([[0.0, np.nan]]))
    with pytest.raises(MetricError, match="wanted"):
        Statistics(2).update(np.zeros((4, 3)))
