"""How long a person's bones are in pictures, and how two persons' bones compare.

A bone that points towards the camera looks shorter than it is, never longer; so its length is a
high quantile over the frames of a clip and over both sides of the body, weighted by confidence.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.layout import HAND_BONES, NUM_HAND_POINTS

Pair = tuple[int, int]

BONE_KINDS: dict[str, tuple[Pair, Pair] | tuple[Pair]] = {
    "shoulder": ((1, 2), (1, 5)),
    "upper arm": ((2, 3), (5, 6)),
    "forearm": ((3, 4), (6, 7)),
    "trunk": ((1, 8), (1, 11)),
    "thigh": ((8, 9), (11, 12)),
    "shin": ((9, 10), (12, 13)),
    "neck to nose": ((1, 0),),
    "nose to eye": ((0, 14), (0, 15)),
    "eye to ear": ((14, 16), (15, 17)),
}
"""The 17 limbs of a skeleton by kind: the right one, then the left one."""

HEAD_KINDS = ("nose to eye", "eye to ear")

QUANTILE = 0.95
# A bone shorter than this share of the longest is a point for the camera: nothing to compare.
_NEGLIGIBLE = 1e-3
# Palm bones are rigid, fingers bend.
_PALM = tuple(bone for bone in HAND_BONES if bone[0] == 0)


@dataclasses.dataclass(frozen=True)
class BoneRatio:
    """One kind of bone, compared.

    Attributes:
      name: of the kind, a key of `BONE_KINDS`, or `hand`.
      driver: robust length in the driving clip, pixels; 0 where it is never seen.
      reference: in the reference picture; 0 where it is not seen.
      ratio: what the driver's bones are multiplied by.
      relative: reference / driver, measured, over the scale of the whole body; 1 if not measured.
      measured: False where one of the lengths is missing and `ratio` is the whole body's scale.
      clamped: whether `ratio` was held back at the limit.
      driver_seen: share of the driving frames in which the bone is seen on at least one side.
      reference_sides: which of the sides `right` and `left` the reference shows.
      asymmetry: longer over shorter side in the reference; 1 unless both are seen.
    """

    name: str
    driver: float
    reference: float
    ratio: float
    relative: float
    measured: bool
    clamped: bool
    driver_seen: float
    reference_sides: tuple[str, ...]
    asymmetry: float


def compare(
    driver: Keypoints, reference: Keypoints, *, threshold: float, limit: float
) -> tuple[float, dict[str, BoneRatio]]:
    """Compares the bones of two persons.

    Args:
      threshold: joints of a score up to this are not seen.
      limit: largest factor by which a bone's ratio may differ from the scale of the whole body.

    Returns:
      The scale of the whole body, reference over driver: the median over kinds of bones, weighted
      by length; 0 where no bone is seen in both. And the comparison of every kind in `BONE_KINDS`
      and of `hand`.
    """
    samples = {name: _both(driver, reference, pairs, threshold) for name, pairs in _KINDS.items()}
    lengths = {name: (d.length, r.length) for name, (d, r) in samples.items()}
    longest = np.max(list(lengths.values()), axis=0)
    known = [name for name in samples if np.all(lengths[name] > _NEGLIGIBLE * longest)]
    body = np.array([lengths[name] for name in known if name != "hand"]).reshape(-1, 2)
    scale = weighted_quantile(body[:, 1] / body[:, 0], body[:, 0], 0.5) if len(body) else 0.0

    ratios = {}
    for name, (d, r) in samples.items():
        measured = name in known and scale > 0
        relative = r.length / d.length / scale if measured else 1.0
        clamped = float(np.clip(relative, 1 / limit, limit))
        ratios[name] = BoneRatio(
            name=name,
            driver=d.length,
            reference=r.length,
            ratio=scale * clamped,
            relative=relative,
            measured=measured,
            clamped=clamped != relative,
            driver_seen=d.seen,
            reference_sides=r.sides,
            asymmetry=r.asymmetry,
        )
    return scale, ratios


def weighted_quantile(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], quantile: float
) -> float:
    """The quantile of weighted values, interpolated linearly; weights must not all be 0."""
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    middles = np.cumsum(weights) - weights / 2
    return float(np.interp(quantile * weights.sum(), middles, values))


@dataclasses.dataclass(frozen=True)
class _Sample:
    """A kind of bone in one clip; see `BoneRatio` for the meaning."""

    length: float
    seen: float
    sides: tuple[str, ...]
    asymmetry: float


# Hands come after the body's 18 joints, the left one first; sides are given right first.
_LEFT_HAND, _RIGHT_HAND = 18, 18 + NUM_HAND_POINTS
_HAND_PAIRS = tuple(
    ((_RIGHT_HAND + start, _RIGHT_HAND + end), (_LEFT_HAND + start, _LEFT_HAND + end))
    for start, end in _PALM
)
# Every kind as a list of bones whose lengths add up, each a tuple of sides.
_KINDS = {**{name: (pairs,) for name, pairs in BONE_KINDS.items()}, "hand": _HAND_PAIRS}


def _both(driver, reference, bones, threshold) -> tuple[_Sample, _Sample]:
    """The samples of a kind; of several bones, the sum of those seen in both clips."""
    pairs = [
        (_measure(driver, sides, threshold), _measure(reference, sides, threshold))
        for sides in bones
    ]
    common = [pair for pair in pairs if pair[0].length > 0 and pair[1].length > 0]
    chosen = common or pairs[:1]
    driver_samples, reference_samples = zip(*chosen, strict=True)
    return _add(driver_samples), _add(reference_samples)


def _add(samples: tuple[_Sample, ...]) -> _Sample:
    return dataclasses.replace(samples[0], length=sum(sample.length for sample in samples))


def _measure(keypoints: Keypoints, sides: tuple[Pair, ...], threshold: float) -> _Sample:
    """One bone in a clip, both sides together."""
    points, scores = _all_joints(keypoints)
    start, end = np.array(sides).T  # [sides]
    lengths = np.linalg.norm(points[:, end] - points[:, start], axis=-1)  # [t, sides]
    weights = np.minimum(scores[:, start], scores[:, end])
    seen = weights > threshold  # in float32, as drawing compares
    weights = weights.astype(np.float64)
    if not seen.any():
        return _Sample(0.0, 0.0, (), 1.0)
    each = [
        weighted_quantile(lengths[seen[:, k], k], weights[seen[:, k], k], QUANTILE)
        for k in range(len(sides))
        if seen[:, k].any()
    ]
    names = tuple(
        name for k, name in enumerate(("right", "left")[: len(sides)]) if seen[:, k].any()
    )
    return _Sample(
        length=weighted_quantile(lengths[seen], weights[seen], QUANTILE),
        seen=float(seen.any(1).mean()),
        sides=names,
        asymmetry=max(each) / max(min(each), 1e-6) if len(each) == 2 else 1.0,
    )


def _all_joints(keypoints: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    """Body and hands as [t, 60, 2] and [t, 60]."""
    t = len(keypoints)
    points = np.concatenate([keypoints.body, keypoints.hands.reshape(t, -1, 2)], 1)
    scores = np.concatenate([keypoints.body_scores, keypoints.hand_scores.reshape(t, -1)], 1)
    return points.astype(np.float64), scores
