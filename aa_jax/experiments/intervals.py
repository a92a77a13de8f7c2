"""95 % intervals over clips, by the bootstrap (Efron 1979): clips are drawn again and again.

Clips are what is independent; frames of one clip are much alike. Draws follow from a fixed seed, so
that a second run gives the same intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from aa_jax.metrics import frechet

SEED = 0
MEAN_DRAWS, FRECHET_DRAWS = 2000, 200
_ENDS = (2.5, 97.5)

Interval = tuple[float, float]


def of_mean(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None = None
) -> Interval | None:
    """Interval of the mean over clips.

    Args:
      values: a figure of every clip.
      weights: how much each counts, such as its number of frames.

    Returns:
      Low and high; None for fewer than two clips.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    drawn = _draws(len(values), MEAN_DRAWS)
    # About the first value, so that equal ones stay what they are to the last digit.
    offsets = values - values[0]
    means = (offsets * weights)[drawn].sum(1) / weights[drawn].sum(1) + values[0]
    low, high = np.percentile(means, _ENDS)
    return float(low), float(high)


def of_frechet(
    targets: Sequence[Float[np.ndarray, "k d"]],
    results: Sequence[Float[np.ndarray, "k d"]],
    figure: float,
) -> Interval | None:
    """Interval of a Fréchet distance over clips, drawn in pairs.

    A draw repeats clips and so has fewer different ones, which alone enlarges the distance. The
    spread of the draws is therefore laid around the figure itself, not around their own mean.

    Args:
      targets: features of every true clip.
      results: of every generated one.
      figure: the distance of all.
    """
    if len(targets) < 3:
        return None
    distances = []
    for drawn in _draws(len(targets), FRECHET_DRAWS):
        a = np.concatenate([targets[i] for i in drawn])
        b = np.concatenate([results[i] for i in drawn])
        distances.append(distance(a, b))
    low, high = np.percentile(np.array(distances) - np.mean(distances), _ENDS) + figure
    return max(float(low), 0.0), float(high)


def distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The Fréchet distance of two sets of features; quick for fewer samples than dimensions.

    The trace of the root of A^1/2 B A^1/2 is the sum of singular values of the centred samples'
    product, which is no larger than the number of samples.
    """
    if max(len(a), len(b)) > a.shape[1]:
        first, second = (frechet.Statistics(x.shape[1]) for x in (a, b))
        first.update(a)
        second.update(b)
        return frechet.distance(first, second)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(shift + np.square(a).sum() + np.square(b).sum() - 2 * overlap, 0.0))


def _draws(clips: int, draws: int) -> Int[np.ndarray, "draws clips"]:
    return np.random.default_rng(SEED).integers(clips, size=(draws, clips))
