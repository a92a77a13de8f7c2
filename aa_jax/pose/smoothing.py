"""Detected keypoints made fit for animation: short gaps filled, jitter removed.

keypoints = smooth(fill_gaps(keypoints), "one_euro")
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from aa_jax.pose.keypoints import Keypoints, KeypointsError
from aa_jax.pose.layout import POINT_SHAPES

Method = Literal["one_euro", "savgol", "none"]
METHODS = ("one_euro", "savgol", "none")

THRESHOLD = 0.3
MAX_GAP = 0.4
"""Seconds without a joint that are filled."""

# One-Euro: slow motion is smoothed below MIN_CUTOFF hertz; the cutoff rises by BETA hertz per body
# size and second, so that quick motion is not held back.
MIN_CUTOFF = 1.5
BETA = 6.0
_DERIVATIVE_CUTOFF = 1.0

SAVGOL_SECONDS = 0.4
_SAVGOL_ORDER = 3

_PARTS = (("body", "body_scores"), ("hands", "hand_scores"), ("face", "face_scores"))


def fill_gaps(
    keypoints: Keypoints, *, max_gap: float = MAX_GAP, threshold: float = THRESHOLD
) -> Keypoints:
    """Puts joints that are lost for a moment on the straight line between their neighbours.

    A filled joint gets the lower of the scores at both ends of its gap. Joints missing at the start
    or the end of the clip, or for longer, stay as they are.

    Args:
      max_gap: longest gap filled, seconds.
      threshold: joints of a score up to this are missing.
    """
    longest = int(max_gap * keypoints.fps + 1e-6)
    changed = {}
    for name, scores_name in _PARTS:
        points, scores = _series(keypoints, name)
        for joint in range(scores.shape[1]):
            seen = scores[:, joint] > threshold
            for start, end in _runs(~seen):
                if start == 0 or end == len(seen) or end - start > longest:
                    continue
                share = (np.arange(start, end) - start + 1) / (end - start + 1)
                before, after = points[start - 1, joint], points[end, joint]
                points[start:end, joint] = before + share[:, None] * (after - before)
                scores[start:end, joint] = min(scores[start - 1, joint], scores[end, joint])
        changed[name] = points.reshape(getattr(keypoints, name).shape)
        changed[scores_name] = scores.reshape(getattr(keypoints, scores_name).shape)
    return dataclasses.replace(keypoints, **changed)


def smooth(
    keypoints: Keypoints,
    method: Method = "one_euro",
    *,
    threshold: float = THRESHOLD,
) -> Keypoints:
    """Removes jitter from every joint, each unbroken stretch of frames for itself.

    Args:
      method: `one_euro`: the One-Euro filter (Casiez et al. 2012), run forwards and backwards and
        averaged so that nothing lags; it spares quick motion. `savgol`: cubic Savitzky-Golay over
        0.4 seconds. `none`: nothing.
      threshold: joints of a score up to this are missing and are not touched.

    Raises:
      KeypointsError: there is no such method.
    """
    if method not in METHODS:
        raise KeypointsError(f"smoothing: one of {', '.join(METHODS)}, got {method!r}")
    if method == "none":
        return keypoints
    size = _body_size(keypoints, threshold)
    changed = {}
    for name, _ in _PARTS:
        points, scores = _series(keypoints, name)
        seen = scores > threshold
        if method == "one_euro":
            points = size * one_euro(points / size, seen, keypoints.fps)
        else:
            _savgol_runs(points, seen, keypoints.fps)
        changed[name] = points.reshape(getattr(keypoints, name).shape)
    return dataclasses.replace(keypoints, **changed)


def one_euro(
    points: Float[np.ndarray, "t n 2"], seen: Bool[np.ndarray, "t n"], fps: float
) -> Float[np.ndarray, "t n 2"]:
    """The One-Euro filter without lag: the mean of a run forwards and a run backwards in time.

    Args:
      points: in body sizes; those not seen stay as they are, and what follows them starts anew.
      fps: frames per second.
    """
    forwards = _one_euro_forwards(points, seen, fps)
    backwards = _one_euro_forwards(points[::-1], seen[::-1], fps)[::-1]
    return (forwards + backwards) / 2


def _one_euro_forwards(points: np.ndarray, seen: np.ndarray, fps: float) -> np.ndarray:
    """A low pass whose cutoff rises with each point's own, smoothed, speed."""
    smoothed, speed = points.copy(), np.zeros(points.shape[1:])
    derivative_weight = _low_pass_weight(_DERIVATIVE_CUTOFF, fps)
    for t in range(1, len(points)):
        going_on = (seen[t] & seen[t - 1])[:, None]
        speed += derivative_weight * ((points[t] - points[t - 1]) * fps - speed)
        speed *= going_on
        cutoff = MIN_CUTOFF + BETA * np.linalg.norm(speed, axis=-1, keepdims=True)
        step = _low_pass_weight(cutoff, fps) * (points[t] - smoothed[t - 1])
        smoothed[t] = np.where(going_on, smoothed[t - 1] + step, points[t])
    return smoothed


def _low_pass_weight(cutoff: Any, fps: float) -> Any:
    """Weight of a new value in exponential smoothing with a cutoff in hertz."""
    step = 2 * np.pi * cutoff / fps
    return step / (step + 1)


def _savgol_runs(points: np.ndarray, seen: np.ndarray, fps: float) -> None:
    """Filters, in place, every unbroken stretch of every joint."""
    for joint in range(points.shape[1]):
        for start, end in _runs(seen[:, joint]):
            points[start:end, joint] = savgol(points[start:end, joint], fps)


def savgol(values: Float[np.ndarray, "t c"], fps: float) -> Float[np.ndarray, "t c"]:
    """Savitzky-Golay along time; stretches too short for a cubic stay as they are."""
    from scipy.signal import savgol_filter

    window = max(round(SAVGOL_SECONDS * fps) // 2 * 2 + 1, _SAVGOL_ORDER + 2)
    window = min(window, (len(values) - 1) // 2 * 2 + 1)
    if window <= _SAVGOL_ORDER:
        return values
    return savgol_filter(values, window, _SAVGOL_ORDER, axis=0)


def _runs(mask: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """Start and end of every stretch of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _series(keypoints: Keypoints, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A part as points [t, n, 2], float64, and scores [t, n]; copies."""
    t = len(keypoints)
    scores_name = dict(_PARTS)[name]
    shape = POINT_SHAPES[scores_name]
    points = getattr(keypoints, name).reshape(t, math.prod(shape), 2)
    scores = getattr(keypoints, scores_name).reshape(t, math.prod(shape))
    return points.astype(np.float64), scores.copy()


def _body_size(keypoints: Keypoints, threshold: float) -> float:
    """Median over frames of the diagonal of the box round all seen body joints, pixels."""
    seen = (keypoints.body_scores > threshold)[..., None]
    enough = seen[..., 0].sum(1) >= 2
    if not enough.any():
        return float(np.hypot(keypoints.width, keypoints.height))
    high = np.where(seen, keypoints.body, -np.inf).max(1)[enough]
    low = np.where(seen, keypoints.body, np.inf).min(1)[enough]
    return max(float(np.median(np.linalg.norm(high - low, axis=-1))), 1.0)
