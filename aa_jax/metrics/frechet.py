"""The Fréchet distance between two sets of features, as normal distributions (FID, FVD, FID-VID).

    a, b = Statistics(400), Statistics(400)
    a.update(features(targets))         # as often as there are more
    b.update(features(results))
    distance(a, b)

    |mean a - mean b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2)

The last trace is the sum of the square roots of the eigenvalues of a symmetric matrix without
negative ones, also where a covariance is singular, as all of fewer samples than dimensions are; the
square root of the product A B, which others take, is neither symmetric nor always real.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aa_jax.metrics.errors import MetricError

LARGE = 512
"""Dimensions from which on eigenvalues are computed by jax, on its device."""


class Statistics:
    """Mean and covariance of features that come a few at a time, in float64.

    Batches are merged by Chan, Golub and LeVeque's formula (1983), so that nothing is lost to large
    means. Memory is that of one matrix, whatever the number of samples.

    Attributes:
      count: samples so far.
      mean: of these, [d].
    """

    def __init__(self, width: int):
        """Of no samples yet.

        Args:
          width: numbers per sample.
        """
        self.count = 0
        self.mean = np.zeros(width)
        self._scatter = np.zeros((width, width))

    def update(self, features: Float[np.ndarray, "n d"]) -> None:
        """Adds samples.

        Raises:
          MetricError: they are of another width, or hold NaN or infinite numbers.
        """
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise MetricError(f"features {x.shape} where [n, {len(self.mean)}] are wanted")
        if not np.isfinite(x).all():
            raise MetricError("features hold NaN or infinite numbers; the pictures' network failed")
        if not len(x):
            return
        count, mean = self.count + len(x), x.mean(0)
        step = mean - self.mean
        centred = x - mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(step, step) * (self.count * len(x) / count)
        self.mean = self.mean + step * (len(x) / count)
        self.count = count

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Of a sample: sums over n - 1."""
        if self.count < 2:
            raise MetricError(f"a covariance needs 2 samples at least; there are {self.count}")
        return self._scatter / (self.count - 1)


def distance(a: Statistics, b: Statistics, *, name: str = "Fréchet distance") -> float:
    """The squared distance of two sets of features, 0 or more; exactly 0 for equal statistics.

    Fewer samples than dimensions are computed as exactly, but say little: the distance of two
    samples of the same distribution is then far from 0. One line on stderr says so.

    Args:
      a: of one set.
      b: of the other; the order does not matter.
      name: of the metric, for the warning.

    Raises:
      MetricError: a set has fewer than two samples, or the widths differ.
    """
    if a.mean.shape != b.mean.shape:
        raise MetricError(f"{name}: features of {len(a.mean)} and {len(b.mean)} numbers")
    first, second = a.covariance, b.covariance
    fewest, width = min(a.count, b.count), len(a.mean)
    if fewest <= width:
        print(
            f"warning: {name} of n = {a.count} and {b.count} samples in {width} dimensions: far "
            "too large, and comparable only with results of exactly as many samples",
            file=sys.stderr,
        )
    if np.array_equal(a.mean, b.mean) and np.array_equal(first, second):
        return 0.0
    shift = np.square(a.mean - b.mean).sum()
    # Exactly symmetric, which one order of the two would be but for rounding.
    overlap = (trace_of_root(first, second) + trace_of_root(second, first)) / 2
    return float(max(shift + np.trace(first) + np.trace(second) - 2 * overlap, 0.0))


def trace_of_root(a: Float[np.ndarray, "d d"], b: Float[np.ndarray, "d d"]) -> float:
    """tr((a^1/2 b a^1/2)^1/2) of two covariances, in float64; on the device where it is large."""
    if len(a) < LARGE or jax.default_backend() == "tpu":  # which has no float64
        return float(_trace_of_root(a, b, np))
    with jax.enable_x64(True):
        return float(_on_device(jnp.asarray(a), jnp.asarray(b)))


def _trace_of_root(a: Any, b: Any, numpy: Any) -> Any:
    values, vectors = numpy.linalg.eigh(a)
    root = vectors * numpy.sqrt(_without_noise(values, numpy))[None]
    return numpy.sqrt(_without_noise(numpy.linalg.eigvalsh(root.T @ b @ root), numpy)).sum()


def _without_noise(values: Any, numpy: Any) -> Any:
    """Eigenvalues, those zero that are smaller than rounding of the largest; roots enlarge it."""
    return numpy.where(values > values.max() * len(values) * np.finfo(np.float64).eps, values, 0)


@jax.jit
def _on_device(a: jax.Array, b: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return _trace_of_root(a, b, jnp)
