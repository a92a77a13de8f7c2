"""How many pixels high people are, who is rather small, and what is too small to be anybody."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.orders import BODY
from aa_jax.pose.people import VISIBLE, Detections, People

LEAST_HEIGHT = 16
"""Pixels, below which not even a detector's networks can see more than a spot."""

_SMALL = 64  # pixels


def without_spots(detections: Detections) -> tuple[Detections, int]:
    """Those of a clip who are at least `LEAST_HEIGHT` high, and how many others there were.

    Somebody's height is the median of the frames, so that a person who walks out of the picture is
    none of the others. Those of whom one joint is seen stay: their height is not known.
    """
    if not any(_is_spot(heights_of(*_bodies(people))).any() for people in detections.frames):
        return detections, 0
    dropped: dict[int, list[int]] = defaultdict(list)
    count = 0
    for track in detections.tracks():
        each = [(t, _bodies(detections.frames[t])) for t in track]
        heights = np.array([heights_of(*(part[track[t]] for part in both)) for t, both in each])
        if _is_spot(_median(heights)):
            count += 1
            for t, index in track.items():
                dropped[t].append(index)
    frames = (_without(people, dropped[t]) for t, people in enumerate(detections.frames))
    return dataclasses.replace(detections, frames=tuple(frames)), count


def warn_of_size(path: Path, keypoints: Keypoints, report: Callable[[str], None]) -> None:
    """Says that a person is too small for its poses to be good.

    Args:
      path: of the video, for the line.
      keypoints: of the person.
      report: takes the line.
    """
    height = height_of(keypoints)
    if height is not None and height < _SMALL:
        report(
            f"warning: {path}: the person is only {height:.0f} pixels high, so that poses are "
            "rough; film from closer, or crop and enlarge the video"
        )


def height_of(keypoints: Keypoints) -> float | None:
    """Pixels from a person's highest visible joint to the lowest, the median; None: never seen."""
    height = _median(heights_of(keypoints.body, keypoints.body_scores))
    return None if np.isnan(height) else float(height)


def heights_of(
    points: Float[np.ndarray, "*n 18 2"], scores: Float[np.ndarray, "*n 18"]
) -> Float[np.ndarray, "*n"]:
    """Pixels from the highest visible joint to the lowest; NaN where fewer than two are seen."""
    seen = scores > VISIBLE
    top, bottom = (np.where(seen, points[..., 1], edge) for edge in (np.inf, -np.inf))
    return np.where(seen.sum(-1) > 1, bottom.max(-1) - top.min(-1), np.nan)


def _median(heights: np.ndarray) -> float:
    known = heights[~np.isnan(heights)]
    return np.median(known) if known.size else np.nan


def _is_spot(heights: float | np.ndarray) -> np.ndarray:
    return np.asarray(heights) < LEAST_HEIGHT  # NaN is not


def _bodies(people: People) -> tuple[np.ndarray, np.ndarray]:
    return people.points[:, BODY], people.scores[:, BODY]


def _without(people: People, dropped: list[int]) -> People:
    if not dropped:
        return people
    points, scores = (np.delete(part, dropped, 0) for part in (people.points, people.scores))
    return People(points, scores, max(0, people.found - len(dropped)))
