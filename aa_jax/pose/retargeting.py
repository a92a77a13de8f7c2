"""Fits a driving clip's skeleton to the body of the character in a reference picture.

The paper rescales the poses "to approximate the length of the character's skeleton in the
reference image" (section 4.1); here every kind of bone has its own ratio, measured over the whole
clip (`aa_jax.pose.bones`), and the clip keeps its directions, its motion and its timing.

    keypoints, report = retarget(driver, reference)
    print(report)
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from aa_jax.pose import bones
from aa_jax.pose.keypoints import Keypoints, KeypointsError
from aa_jax.pose.layout import BODY_JOINTS, BODY_LIMBS
from aa_jax.pose.retargeting_report import RetargetingReport

Anchor = Literal["auto", "neck", "ground"]
Method = Literal["bones", "affine"]

THRESHOLD = 0.3
LIMIT = 2.5
"""Largest factor between a bone's ratio and the whole body's scale."""

_NECK, _NOSE = BODY_JOINTS.index("neck"), BODY_JOINTS.index("nose")
_ANKLES = [BODY_JOINTS.index("right_ankle"), BODY_JOINTS.index("left_ankle")]
_WRISTS = [BODY_JOINTS.index("left_wrist"), BODY_JOINTS.index("right_wrist")]  # as hands are
_SHOULDERS = [BODY_JOINTS.index("right_shoulder"), BODY_JOINTS.index("left_shoulder")]
_HIPS = [BODY_JOINTS.index("right_hip"), BODY_JOINTS.index("left_hip")]
_KIND_OF_LIMB = {limb: name for name, limbs in bones.BONE_KINDS.items() for limb in limbs}
_LEAST_KINDS = 3  # of bones seen in both, for ratios of single bones to mean anything
# Mean squared distance of two random directions: what a bone costs that cannot be compared.
_RANDOM_DIRECTIONS = 2.0


def retarget(
    driver: Keypoints,
    reference: Keypoints,
    *,
    anchor: Anchor = "auto",
    method: Method = "bones",
    threshold: float = THRESHOLD,
    limit: float = LIMIT,
) -> tuple[Keypoints, RetargetingReport]:
    """Fits a clip to another body.

    The clip stands where the reference stands in that frame whose pose is most like the
    reference's, and moves from there, its paths scaled like the whole body. Scale and place of the
    driver do not matter. Joints that the driver lacks are lacking in the result.

    Args:
      driver: `t` frames; fill gaps and smooth first (`aa_jax.pose.smoothing`).
      reference: the character's keypoints, usually one frame.
      anchor: what keeps its place: `neck`, `ground` (the feet, so that longer legs do not sink in
        or float), or `auto`: ground where both ankles are seen.
      method: `bones`: a ratio for every kind of bone; `affine`: one scale and shift per axis for
        all points. Too few bones in common fall back to `affine`.
      threshold: joints of a score up to this are not seen.
      limit: see `LIMIT`.

    Returns:
      `t` frames in pixels of the reference's picture, and what was measured and is doubtful.

    Raises:
      KeypointsError: one of the two has no frames.
    """
    for name, keypoints in (("driver", driver), ("reference", reference)):
        if not len(keypoints):
            raise KeypointsError(f"the {name} of retargeting has no frames")
    scale, ratios = bones.compare(driver, reference, threshold=threshold, limit=limit)
    seen = driver.body_scores > threshold
    reference_seen = reference.body_scores > threshold
    frame, reference_frame = _most_alike(driver.body, seen, reference.body, reference_seen)
    common = seen[frame] & reference_seen[reference_frame]
    target = reference.body[reference_frame].astype(np.float64)

    measured = [kind for kind in bones.BONE_KINDS if ratios[kind].measured]
    fallback = method == "bones" and len(measured) < _LEAST_KINDS
    grounded = anchor != "neck" and bool(common[_ANKLES].all())
    if anchor == "auto":
        grounded &= bool(seen[:, _ANKLES].all(1).mean() >= 0.5)
    if method == "affine" or fallback:
        used, place = "affine", "all joints"
        points, scale = _affine(driver, frame, reference, target, common)
    else:
        used, place = "bones", "ground" if grounded else "neck"
        points = _per_bone(driver, seen, scale, ratios, frame, place, target, common)
    size = {"width": reference.width, "height": reference.height}
    result = dataclasses.replace(driver, **points, **size)
    report = RetargetingReport(
        method=used,
        fallback=fallback,
        anchor=place,
        anchor_asked=anchor,
        driver_frame=frame,
        reference_frame=reference_frame,
        scale=scale,
        bones=tuple(ratios.values()),
        outside=_share_outside(result, threshold),
    )
    return result, report


# --- per bone -----------------------------------------------------------------------------------


def _per_bone(
    driver: Keypoints,
    seen: np.ndarray,
    scale: float,
    ratios: dict[str, bones.BoneRatio],
    frame: int,
    place: str,
    target: np.ndarray,
    common: np.ndarray,
) -> dict[str, np.ndarray]:
    """The driver's directions with the reference's lengths, placed at the reference.

    Args:
      seen: [t, 18] bool.
      frame: the driver's frame that is put where the reference is, at its `place`.
      target: [18, 2] joints of the reference, `common` [18] those seen in it and in `frame`.

    Returns:
      `body`, `hands` and `face` of the result.
    """
    joints = _complete(driver, seen)
    result = np.empty_like(joints)
    result[:, _NECK] = scale * joints[:, _NECK]
    for start, end in BODY_LIMBS:  # parents come before their children
        ratio = ratios[_KIND_OF_LIMB[start, end]].ratio
        result[:, end] = result[:, start] + ratio * (joints[:, end] - joints[:, start])

    if place == "ground":
        result += _ground_correction(joints, result, seen, scale, frame)[:, None]
        shift = _ground(target) - _ground(result[frame])
        if common[_NECK]:  # feet apart say little about where a person is
            shift[0] = target[_NECK, 0] - result[frame, _NECK, 0]
        result += shift
    else:
        # Without a neck in both, the joints in both stand in for it.
        fixed = [_NECK] if common[_NECK] or not common.any() else common
        result += (target[fixed] - result[frame][fixed]).mean(0)

    head = [ratios[name] for name in bones.HEAD_KINDS if ratios[name].measured]
    face_ratio = scale
    if head:
        face_ratio = sum(r.ratio * r.driver for r in head) / sum(r.driver for r in head)
    wrists, nose = joints[:, _WRISTS, None], joints[:, _NOSE, None]
    hands = result[:, _WRISTS, None] + ratios["hand"].ratio * (driver.hands - wrists)
    face = result[:, _NOSE, None] + face_ratio * (driver.face - nose)
    return {"body": result, "hands": hands, "face": face}


def _complete(driver: Keypoints, seen: np.ndarray) -> np.ndarray:
    """Joints [t, 18, 2] with a place for those not seen, so that others can hang on them.

    The neck is interpolated in time, a wrist taken from its hand; any other joint stands at its
    parent. None of these places is shown: scores stay what they are.
    """
    joints = driver.body.astype(np.float64).copy()
    seen = seen.copy()
    for side, wrist in enumerate(_WRISTS):
        from_hand = ~seen[:, wrist] & (driver.hand_scores[:, side, 0] > 0)
        joints[from_hand, wrist] = driver.hands[from_hand, side, 0]
        seen[:, wrist] |= from_hand
    joints[:, _NECK] = _root(joints, seen)
    for start, end in BODY_LIMBS:
        joints[:, end] = np.where(seen[:, end, None], joints[:, end], joints[:, start])
    return joints


def _root(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Where the neck is, or what stands in for it all through the clip, [t, 2]."""
    for group in ([_NECK], _SHOULDERS, _HIPS, [_NOSE]):
        there = seen[:, group].all(1)
        if there.any():
            return _interpolate(joints[:, group].mean(1), there)
    there = seen.any(1)
    if not there.any():
        return np.zeros((len(joints), 2))
    weights = seen / np.maximum(seen.sum(1, keepdims=True), 1)
    return _interpolate((joints * weights[..., None]).sum(1), there)


def _interpolate(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """values [t, 2] where known [t], and between and beyond them interpolated over time."""
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, frames[known], v[known]) for v in values.T], -1)


def _ground(joints: np.ndarray) -> np.ndarray:
    """Middle of the ankles in x, the lower one in y: [..., 18, 2] to [..., 2]."""
    ankles = joints[..., _ANKLES, :]
    return np.stack([ankles[..., 0].mean(-1), ankles[..., 1].max(-1)], -1)


def _ground_correction(joints, result, seen, scale, frame) -> np.ndarray:
    """What moves the result's feet along the driver's scaled path, [t, 2]; 0 at `frame`."""
    wanted = scale * (_ground(joints) - _ground(joints[frame]))
    correction = wanted - (_ground(result) - _ground(result[frame]))
    return _interpolate(correction, seen[:, _ANKLES].all(1))


# --- where the reference stands -----------------------------------------------------------------


def _most_alike(body, seen, reference, reference_seen) -> tuple[int, int]:
    """Frames of driver and reference whose bones point the most alike; the first of equals."""
    directions, there = _directions(body, seen)
    best = (np.inf, 0, 0)
    matches = []
    for j, (target, target_there) in enumerate(
        zip(*_directions(reference, reference_seen), strict=True)
    ):
        both = there & target_there
        gaps = ((directions - target) ** 2).sum(-1) * both
        matches.append((j, gaps.sum(1), both.sum(1)))
    most = max(int(counts.max()) for _, _, counts in matches)
    for j, gaps, counts in matches:
        # Rounded, so that the driver's scale cannot decide between equals.
        costs = np.round(gaps + _RANDOM_DIRECTIONS * (most - counts), 6)
        i = int(costs.argmin())
        best = min(best, (float(costs[i]), i, j))
    return best[1:]


def _directions(body: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the limbs [t, 17, 2], and which limbs are there [t, 17]."""
    start, end = np.array(BODY_LIMBS).T
    vectors = (body[:, end] - body[:, start]).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=-1)
    there = seen[:, start] & seen[:, end] & (lengths > 0)
    return vectors / np.where(lengths > 0, lengths, 1.0)[..., None], there


# --- the fall-back ------------------------------------------------------------------------------


def _affine(driver, frame, reference, target, common) -> tuple[dict[str, np.ndarray], float]:
    """All points scaled and shifted alike: x and y by least squares over the joints in common.

    Returns:
      `body`, `hands` and `face` of the result, and the geometric mean of both axes' scales.
    """
    source, target = driver.body[frame][common].astype(np.float64), target[common]
    pictures = (
        np.array([driver.width, driver.height]),
        np.array([reference.width, reference.height]),
    )
    if len(source):
        centers = source.mean(0), target.mean(0)
    else:  # nothing to go by: picture to picture
        centers = pictures[0] / 2, pictures[1] / 2
    spread = ((source - centers[0]) ** 2).sum(0)
    target_spread = ((target - centers[1]) ** 2).sum(0)
    if spread.sum() > 0 and target_spread.sum() > 0:
        uniform = np.sqrt(target_spread.sum() / spread.sum())
    else:
        uniform = (pictures[1] / pictures[0]).min()
    together = ((source - centers[0]) * (target - centers[1])).sum(0)
    scales = together / np.where(spread > 0, spread, 1.0)
    # Joints in a line, or poses turned against each other, say nothing about an axis.
    doubtful = (scales < uniform / 1.5) | (scales > uniform * 1.5) | (len(source) < 3)
    scales = np.where(doubtful, uniform, scales)
    points = {
        name: (getattr(driver, name) - centers[0]) * scales + centers[1]
        for name in ("body", "hands", "face")
    }
    return points, float(np.sqrt(scales.prod()))


def _share_outside(keypoints: Keypoints, threshold: float) -> float:
    """Share of the body's visible joints that lie outside the picture."""
    seen = keypoints.body_scores > threshold
    inside = (keypoints.body >= 0) & (keypoints.body < [keypoints.width, keypoints.height])
    return float(1 - inside.all(-1)[seen].mean()) if seen.any() else 0.0
