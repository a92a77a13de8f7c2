"""Who is who from frame to frame: people of a clip, followed by where their joints are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

# Mean distance of joints from one sighting to the next, in body sizes, within which two poses are
# taken for the same person's; and the least body size, as a share of the picture's diagonal.
_TRACKING_GATE = 0.5
_LEAST_SIZE = 0.05

Track = dict[int, int]
"""Index of one person among the people of every frame that shows it."""


def tracks_of(
    points: Sequence[Float[np.ndarray, "n 18 2"]],
    seen: Sequence[Bool[np.ndarray, "n 18"]],
    weights: Sequence[Float[np.ndarray, " n"]],
    size: tuple[int, int],
) -> list[Track]:
    """Everyone of a clip, those with the greatest sum of weights first.

    Args:
      points: per frame the body joints of its n people, pixels.
      seen: which of them are there.
      weights: per frame what each of its people counts.
      size: width and height of the pictures.
    """
    from scipy.optimize import linear_sum_assignment

    least = _LEAST_SIZE * math.hypot(*size)
    last_points = np.zeros((0, *np.shape(points[0])[1:])) if len(points) else np.zeros((0, 18, 2))
    last_seen = np.zeros(last_points.shape[:2], bool)  # of each track, where last seen
    totals: list[float] = []
    tracks: list[Track] = []
    for t, (joints, there) in enumerate(zip(points, seen, strict=True)):
        distances = _pose_distances(last_points, last_seen, joints, there, least)
        pairs = zip(*linear_sum_assignment(distances), strict=True)
        track_of = {p: k for k, p in pairs if distances[k, p] < _TRACKING_GATE}
        for person in range(len(joints)):
            if person not in track_of:
                track_of[person] = len(tracks)
                tracks.append({})
                totals.append(0.0)
                last_points = np.append(last_points, joints[person][None], 0)
                last_seen = np.append(last_seen, there[person][None], 0)
            track = track_of[person]
            tracks[track][t] = person
            totals[track] += float(weights[t][person])
            last_points[track], last_seen[track] = joints[person], there[person]
    order = np.argsort(-np.array(totals), kind="stable")
    return [tracks[index] for index in order]


def _pose_distances(
    first: np.ndarray,
    first_seen: np.ndarray,
    second: np.ndarray,
    second_seen: np.ndarray,
    least: float,
) -> np.ndarray:
    """Mean distance [n, m], in body sizes, of the joints both poses show; large if there are none.

    Args:
      first: [n, 18, 2], first_seen: [n, 18] bool.
      second: [m, 18, 2], second_seen: [m, 18] bool.
      least: size of the smallest body, pixels.
    """
    both = first_seen[:, None] & second_seen[None]
    gaps = np.linalg.norm(first[:, None] - second[None], axis=-1)
    mean = (gaps * both).sum(-1) / np.maximum(both.sum(-1), 1)
    low = np.where(first_seen[..., None], first, np.inf).min(1)
    high = np.where(first_seen[..., None], first, -np.inf).max(1)
    extent = np.where(first_seen.any(1)[:, None], high - low, 0.0)
    sizes = np.maximum(np.linalg.norm(extent, axis=-1), least)
    return np.where(both.any(-1), mean / sizes[:, None], 1e6)
