"""The arithmetic around MediaPipe's networks of body and hands, with the networks left out.

A detector finds people in a square picture; a landmark network finds 33 points in a turned square
around each, of which two more say where the next frame's square lies; a small network lays the
square of a hand, in which another finds 21 points. Geometry and numbers are those of the graph
`holistic_landmark_cpu` of mediapipe 0.10.21; regions are those of `blazepose_regions`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from aa_jax.pose.blazepose_regions import maps_of, placed
from aa_jax.pose.orders import BODY, FACE, LEFT_HAND, NUM_POINTS, RIGHT_HAND

DETECTOR_SIDE = 224
POSE_SIDE = 256
RECROP_SIDE = 256
HAND_SIDE = 224
"""Sides of the pictures the networks take, pixels."""

NUM_BODY_POINTS = 33
NUM_ANCHORS = 2254

DETECTION_THRESHOLD = 0.5
FLAG_THRESHOLD = 0.5
"""Least flag of the landmark networks: there is a body, or a hand, in the square."""
WRIST_THRESHOLD = 0.1
"""Least visibility of a wrist whose hand is looked for."""

_OVERLAP_THRESHOLD = 0.3
_ALL_POINTS = 39  # 33 and those of the region
_HEATMAP_SIDE = 64
_HEATMAP_REACH = 4  # cells on each side of a point: a kernel of 9
_HEATMAP_THRESHOLD = 0.5

LEFT_WRIST_PINKY_INDEX = (15, 17, 19)
RIGHT_WRIST_PINKY_INDEX = (16, 18, 20)
_LEFT_SHOULDER, _RIGHT_SHOULDER = 11, 12
_NECK = NUM_BODY_POINTS  # which is made
# BlazePose's point of every joint of OpenPose's body, from the nose to the left ear.
_BODY = (0, _NECK, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
# Of the 68 points of a face: tip of the nose, corners of both eyes, of the mouth.
_FACE = {30: 0, 36: 6, 39: 4, 42: 1, 45: 3, 48: 10, 54: 9}


class Found(NamedTuple):
    """People a detector found, best first.

    Attributes:
      scores: [n] from 0 to 1.
      faces: [n, 4] boxes of the faces: x0, y0, x1, y1 in pixels.
      points: [n, 4, 2] pixels: middle of the hips and a point on the circle around the body, as
        in `Landmarks.circles`; middle of the shoulders and one on the circle around the upper body.
    """

    scores: Float[np.ndarray, " n"]
    faces: Float[np.ndarray, "n 4"]
    points: Float[np.ndarray, "n 4 2"]


class Landmarks(NamedTuple):
    """What the landmark network says of n regions.

    Attributes:
      points: [n, 33, 2] pixels of the picture.
      visibility: [n, 33], probability that a point is in the picture and not covered.
      presence: [n, 33], probability that it is in the picture.
      flags: [n], probability that the region shows a body.
      circles: [n, 2, 2] pixels: middle of the hips, and a point on the circle around the body.
    """

    points: Float[np.ndarray, "n 33 2"]
    visibility: Float[np.ndarray, "n 33"]
    presence: Float[np.ndarray, "n 33"]
    flags: Float[np.ndarray, " n"]
    circles: Float[np.ndarray, "n 2 2"]


# --- the detector -------------------------------------------------------------------------------


def square(tile: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "224 224 3"]:
    """A picture in the middle of the detector's black square."""
    height, width = tile.shape[:2]
    side = max(height, width)
    region = np.array([[width / 2, height / 2, side, 0.0]])
    (matrix,) = maps_of(region, DETECTOR_SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(tile, matrix, (DETECTOR_SIDE, DETECTOR_SIDE), flags=flags)


def found_in(
    outputs: Float32[np.ndarray, "2254 12"],
    logits: Float32[np.ndarray, " 2254"],
    size: tuple[int, int],
) -> Found:
    """People in a picture of which `square` was shown to the detector.

    Those that overlap become one, the mean of all weighted by their scores.

    Args:
      outputs: per anchor centre and size of the face, and four points, relative to the anchor.
      logits: of the scores.
      size: width and height of the picture.
    """
    scores = sigmoid(logits.astype(np.float64))
    likely = scores >= DETECTION_THRESHOLD
    scores, values = scores[likely], outputs[likely].astype(np.float64).reshape(-1, 6, 2)
    side = max(size)
    values *= side / DETECTOR_SIDE
    corner = (np.array(size) - side) / 2
    centers = anchors()[likely] * side + corner
    places = values[:, [0, 2, 3, 4, 5]] + centers[:, None]
    half = values[:, 1] / 2
    faces = np.concatenate([places[:, 0] - half, places[:, 0] + half], 1)
    rows = np.concatenate([faces, places[:, 1:].reshape(-1, 8)], 1)
    best, merged = [], []
    order = scores.argsort(kind="stable")[::-1]
    while order.size:
        together = overlaps(faces[order[0]], faces[order]) > _OVERLAP_THRESHOLD
        together[0] = True
        members = order[together]
        best.append(scores[order[0]])
        merged.append(np.average(rows[members], 0, weights=scores[members]))
        order = order[~together]
    table = np.array(merged).reshape(-1, 12)
    return Found(np.array(best), table[:, :4], table[:, 4:].reshape(-1, 4, 2))


@functools.cache
def anchors() -> Float[np.ndarray, "2254 2"]:
    """Centres (x, y) of the detector's anchors, from 0 to 1."""
    parts = []
    for stride, copies in ((8, 2), (16, 2), (32, 6)):
        cells = DETECTOR_SIDE // stride
        rows, columns = (np.mgrid[:cells, :cells] + 0.5) / cells
        parts.append(np.stack([columns, rows], -1).reshape(-1, 2).repeat(copies, 0))
    return np.concatenate(parts)


def overlaps(box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "n 4"]) -> np.ndarray:
    """Intersection over union [n] of a box with others."""
    corner, opposite = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(0, opposite - corner).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / np.maximum(areas + (box[2:] - box[:2]).prod() - shared, 1e-9)


# --- landmarks ----------------------------------------------------------------------------------


def landmarks_of(
    outputs: Float32[np.ndarray, "n 195"],
    flags: Float32[np.ndarray, "n 1"],
    heatmaps: Float32[np.ndarray, "n 64 64 39"],
    regions: Float[np.ndarray, "n 4"],
) -> Landmarks:
    """The landmark network's answers for n regions, in pixels of the picture.

    Args:
      outputs: x, y, depth in pixels of the crop, and logits of visibility and presence, of each
        point.
      flags: probability of a body.
      heatmaps: logits of where the points are, by which they are refined.
    """
    values = outputs.reshape(-1, _ALL_POINTS, 5).astype(np.float64)
    points = _refined(values[..., :2] / POSE_SIDE, heatmaps) * POSE_SIDE
    places = placed(points, maps_of(regions, POSE_SIDE))
    body = slice(NUM_BODY_POINTS)
    return Landmarks(
        points=places[:, body],
        visibility=sigmoid(values[:, body, 3]),
        presence=sigmoid(values[:, body, 4]),
        flags=flags[:, 0].astype(np.float64),
        circles=places[:, NUM_BODY_POINTS : NUM_BODY_POINTS + 2],
    )


def _refined(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points [n, 39, 2], from 0 to 1, as the means of their heatmaps nearby, where these are sure.

    A mean is that of the cells' upper left corners, as MediaPipe takes it.
    """
    reach = np.arange(-_HEATMAP_REACH, _HEATMAP_REACH + 1)
    cells = np.floor(points * _HEATMAP_SIDE).astype(int)
    inside = ((points >= 0) & (cells < _HEATMAP_SIDE)).all(-1)
    columns = cells[..., 0, None] + reach
    rows = cells[..., 1, None] + reach
    within = [(line >= 0) & (line < _HEATMAP_SIDE) for line in (rows, columns)]
    rows, columns = (np.clip(line, 0, _HEATMAP_SIDE - 1) for line in (rows, columns))
    n, k = np.ogrid[: points.shape[0], : points.shape[1]]
    n, k = n[..., None, None], k[..., None, None]
    near = heatmaps[n, rows[..., :, None], columns[..., None, :], k].astype(np.float64)
    weights = sigmoid(near) * (within[0][..., :, None] & within[1][..., None, :])
    total = np.maximum(weights.sum((-2, -1)), 1e-9)
    x = (weights.sum(-2) * columns).sum(-1) / total
    y = (weights.sum(-1) * rows).sum(-1) / total
    sure = inside & (weights.max((-2, -1)) >= _HEATMAP_THRESHOLD)
    return np.where(sure[..., None], np.stack([x, y], -1) / _HEATMAP_SIDE, points)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + np.exp(-np.clip(x, -100, 100)))


# --- OpenPose's order ---------------------------------------------------------------------------


def to_openpose(
    landmarks: Landmarks,
    hands: Float[np.ndarray, "n 2 21 2"],
    hand_scores: Float[np.ndarray, "n 2"],
    size: tuple[int, int],
) -> tuple[Float32[np.ndarray, "n 134 2"], Float32[np.ndarray, "n 134"]]:
    """Points and scores in the order of `aa_jax.pose.orders`.

    A body point scores the smaller of visibility and presence; the neck is the middle of the
    shoulders, with the smaller of their scores. Seven of the face's 68 points are BlazePose's own,
    the others, and points outside the picture, are absent.

    Args:
      hands: the left hand first.
      hand_scores: probability that there is a hand, the score of all its points.
      size: width and height of the picture.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    source = np.minimum(landmarks.visibility, landmarks.presence)
    source = np.append(source, source[:, shoulders].min(1, keepdims=True), 1)
    places = landmarks.points
    places = np.append(places, places[:, shoulders].mean(1, keepdims=True), 1)
    count = len(places)
    points, scores = np.zeros((count, NUM_POINTS, 2)), np.zeros((count, NUM_POINTS))
    points[:, BODY], scores[:, BODY] = places[:, _BODY], source[:, _BODY]
    targets, origins = FACE.start + np.array(list(_FACE)), list(_FACE.values())
    points[:, targets], scores[:, targets] = places[:, origins], source[:, origins]
    for side, part in enumerate((LEFT_HAND, RIGHT_HAND)):
        points[:, part], scores[:, part] = hands[:, side], hand_scores[:, side, None]
    inside = ((points >= 0) & (points < np.array(size))).all(-1)
    scores = np.where(inside, scores, 0.0)
    points = np.where(scores[..., None] > 0, points, 0.0)
    return points.astype(np.float32), scores.astype(np.float32)
