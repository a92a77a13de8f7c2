"""Turned squares of a picture, in which MediaPipe's networks see a body or a hand upright.

A region is (x, y, side, angle): its centre and side in pixels of the picture, and by how far it is
turned, in radians. Numbers are those of mediapipe 0.10.21's graph `holistic_landmark_cpu`.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_BODY_SCALE = 1.25
_HAND_SCALE = 2.7
_HAND_SHIFT = -0.1


def regions_between(
    centers: Float[np.ndarray, "n 2"],
    ends: Float[np.ndarray, "n 2"],
    scale: float = 1.0,
    *,
    downwards: bool = False,
) -> Float[np.ndarray, "n 4"]:
    """Regions around `centers` in which `ends` lie straight above, or below.

    Args:
      scale: of the region, over the circle through the end.
    """
    x, y = (ends - centers).T
    target = -np.pi / 2 if downwards else np.pi / 2
    angles = target - np.arctan2(-y, x)
    angles = (angles + np.pi) % (2 * np.pi) - np.pi
    return np.column_stack([centers, 2 * scale * np.hypot(x, y), angles])


def body_regions(circles: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, "n 4"]:
    """The regions of the landmark network: from a body's middle and a point on its circle."""
    return regions_between(circles[:, 0], circles[:, 1], _BODY_SCALE)


def hand_regions(points: Float[np.ndarray, "n 3 2"]) -> Float[np.ndarray, "n 4"]:
    """Where a hand lies, roughly: from wrist, knuckle of the little and of the index finger."""
    wrists, pinkies, indices = points[:, 0], points[:, 1], points[:, 2]
    regions = _shifted(regions_between((2 * indices + pinkies) / 3, wrists, downwards=True))
    return regions * [1, 1, _HAND_SCALE, 1]


def recropped(ends: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, "n 4"]:
    """The region of a hand's landmarks from the two points of the network between."""
    return _shifted(regions_between(ends[:, 0], ends[:, 1], downwards=True))


def _shifted(regions: np.ndarray) -> np.ndarray:
    """Moved along their own vertical."""
    x, y, side, angle = regions.T
    step = side * _HAND_SHIFT
    return np.column_stack([x - step * np.sin(angle), y + step * np.cos(angle), side, angle])


def maps_of(regions: Float[np.ndarray, "n 4"], pixels: int) -> Float[np.ndarray, "n 2 3"]:
    """Affine maps from pixels of a crop of `pixels` x `pixels` to those of the picture."""
    x, y, side, angle = regions.T
    cos, sin = np.cos(angle), np.sin(angle)
    scale = side / pixels
    left = x - (cos - sin) * side / 2
    top = y - (sin + cos) * side / 2
    columns = [cos * scale, -sin * scale, left, sin * scale, cos * scale, top]
    return np.stack(columns, -1).reshape(-1, 2, 3)


def crop(
    picture: UInt8[np.ndarray, "h w 3"], region: Float[np.ndarray, " 4"], pixels: int
) -> UInt8[np.ndarray, "p p 3"]:
    """What a region shows; beyond the picture, its nearest pixels."""
    # MediaPipe lays pixel 0 of the crop, not its upper left corner, on the region's corner.
    (matrix,) = maps_of(region[None], pixels)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        picture, matrix, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def placed(
    points: Float[np.ndarray, "n k 2"], maps: Float[np.ndarray, "n 2 3"]
) -> Float[np.ndarray, "n k 2"]:
    """Points of crops as points of the picture."""
    return points @ maps[:, :, :2].swapaxes(1, 2) + maps[:, None, :, 2]
