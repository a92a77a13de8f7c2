"""Skeleton pictures: coloured limbs and joints on black, as DWPose's drawing code makes them.

Strokes have fixed widths in pixels, so the size of the canvas drawn on is part of the style
(`SkeletonConfig.size`) and belongs to the weights that were trained with it.
"""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np

from aa_jax.config import SkeletonConfig
from aa_jax.pose.keypoints import BODY_LIMBS, HAND_BONES, Keypoints

BODY_COLORS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
"""Red, green, blue of each joint, and of the limb of the same number."""

# The whole canvas is dimmed to 0.6 after the limbs; drawing dimmed limbs on black is the same.
LIMB_COLORS = tuple(tuple(int(value * 0.6) for value in color) for color in BODY_COLORS)
HAND_BONE_COLORS = tuple(
    tuple(255 * value for value in colorsys.hsv_to_rgb(bone / len(HAND_BONES), 1.0, 1.0))
    for bone in range(len(HAND_BONES))
)
HAND_JOINT_COLOR = (0, 0, 255)
FACE_COLOR = (255, 255, 255)

LIMB_HALF_WIDTH = 4
JOINT_RADIUS = 4
HAND_BONE_WIDTH = 2
FACE_RADIUS = 3


def draw_skeleton(
    body: np.ndarray,
    body_present: np.ndarray,
    hands: np.ndarray,
    hands_present: np.ndarray,
    faces: np.ndarray,
    faces_present: np.ndarray,
    *,
    width: int,
    height: int,
    confidences: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Draws the skeletons of any number of people.

    Args:
      body: [people, 18, 2], (x, y) as fractions of width and height, OpenPose order.
      body_present: [people, 18] bool, joints to draw; a limb needs both its ends.
      hands: [hands, 21, 2], fractions.
      hands_present: [hands, 21] bool.
      faces: [faces, 68, 2], fractions.
      faces_present: [faces, 68] bool.
      width, height: pixels of the canvas.
      confidences: 0 to 1 for body [people, 18], hands [hands, 21] and faces [faces, 68]; colours
        are multiplied by them, those of a limb by both its ends'. None: full colours, as DWPose.

    Returns:
      [height, width, 3] uint8, red first.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    size = np.array([width, height], np.float64)
    if confidences is None:
        confidences = (np.ones(np.shape(points)[:2]) for points in (body, hands, faces))
    body_trust, hand_trust, face_trust = (trust.tolist() for trust in confidences)
    _draw_bodies(canvas, np.asarray(body, np.float64) * size, body_present, body_trust)
    for points, present, trust in zip(
        np.asarray(hands, np.float64) * size, hands_present, hand_trust, strict=True
    ):
        _draw_hand(canvas, points, present, trust)
    for points, present, trust in zip(
        np.asarray(faces, np.float64) * size, faces_present, face_trust, strict=True
    ):
        for (x, y), value in zip(_positive_pixels(points, present), trust, strict=True):
            if x > 0 and y > 0:
                color = _scaled(FACE_COLOR, value)
                cv2.circle(canvas, (x, y), FACE_RADIUS, color, thickness=-1)
    return canvas


def draw_keypoints(
    keypoints: Keypoints, width: int, height: int, style: SkeletonConfig
) -> np.ndarray:
    """The skeleton picture of every frame.

    The canvas drawn on has a shorter side of `style.size` pixels and the aspect ratio of the
    result, to which it is resized afterwards.

    Args:
      keypoints: `t` frames, measured in pictures of any size.
      width, height: pixels of the result.
      style: canvas size, confidence threshold, and whether hands and face are drawn.

    Returns:
      [t, height, width, 3] uint8, red first.
    """
    scale = style.size / min(width, height)
    canvas_width, canvas_height = round(width * scale), round(height * scale)
    fractions = 1 / np.array([keypoints.width, keypoints.height], np.float64)
    body, hands, face = (
        part.astype(np.float64) * fractions
        for part in (keypoints.body, keypoints.hands, keypoints.face)
    )
    # DWPose keeps body joints above the threshold, but hand and face points at it too.
    body_present = (keypoints.body_scores > style.threshold) & _near_canvas(body)
    hands_present = (keypoints.hand_scores >= style.threshold) & (keypoints.hand_scores > 0)
    face_present = (keypoints.face_scores >= style.threshold) & (keypoints.face_scores > 0)
    hands_present &= _near_canvas(hands) & style.hands
    face_present &= _near_canvas(face) & style.face

    shrinks = canvas_width > width or canvas_height > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    pictures = np.empty((len(keypoints), height, width, 3), np.uint8)
    for t in range(len(keypoints)):
        picture = draw_skeleton(
            body[t : t + 1],
            body_present[t : t + 1],
            hands[t],
            hands_present[t],
            face[t : t + 1],
            face_present[t : t + 1],
            width=canvas_width,
            height=canvas_height,
            confidences=_confidences(keypoints, t) if style.confidence_colors else None,
        )
        if picture.shape[:2] != (height, width):
            picture = cv2.resize(picture, (width, height), interpolation=interpolation)
        pictures[t] = picture
    return pictures


def _confidences(keypoints: Keypoints, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = keypoints.body_scores[t : t + 1], keypoints.hand_scores[t], keypoints.face_scores[t]
    body, hands, face = (np.clip(values, 0, 1).astype(np.float64) for values in scores)
    return body, hands, face[None]


def _scaled(color: tuple[float, ...], trust: float) -> tuple[float, ...]:
    """A colour made darker; exactly the same at full trust."""
    return color if trust == 1 else tuple(value * trust for value in color)


def _draw_bodies(
    canvas: np.ndarray, points: np.ndarray, present: np.ndarray, trust: list[list[float]]
) -> None:
    """Limbs of all people (points: [people, 18, 2] pixels), then their joints."""
    present = np.asarray(present, bool).tolist()
    people = list(zip(points.tolist(), present, trust, strict=True))
    for (start, end), color in zip(BODY_LIMBS, LIMB_COLORS, strict=False):
        for person, there, value in people:
            if there[start] and there[end]:
                polygon = _limb_polygon(person[start], person[end])
                cv2.fillConvexPoly(canvas, polygon, _scaled(color, value[start] * value[end]))
    for joint, color in enumerate(BODY_COLORS):
        for person, there, value in people:
            if there[joint]:
                center = int(person[joint][0]), int(person[joint][1])
                cv2.circle(canvas, center, JOINT_RADIUS, _scaled(color, value[joint]), thickness=-1)


def _limb_polygon(start: list[float], end: list[float]) -> np.ndarray:
    """Outline of the ellipse between two points; pixels are cut to integers only at the end."""
    (x0, y0), (x1, y1) = start, end
    length = math.sqrt((y0 - y1) ** 2 + (x0 - x1) ** 2)
    angle = math.degrees(math.atan2(y0 - y1, x0 - x1))
    center = (int((x0 + x1) / 2), int((y0 + y1) / 2))
    return cv2.ellipse2Poly(center, (int(length / 2), LIMB_HALF_WIDTH), int(angle), 0, 360, 1)


def _draw_hand(
    canvas: np.ndarray, points: np.ndarray, present: np.ndarray, trust: list[float]
) -> None:
    """Bones, then joints, of one hand (points: [21, 2] pixels)."""
    if not np.any(present):
        return
    pixels = _positive_pixels(points, present)
    for (start, end), color in zip(HAND_BONES, HAND_BONE_COLORS, strict=True):
        if min(*pixels[start], *pixels[end]) > 0:
            color = _scaled(color, trust[start] * trust[end])
            cv2.line(canvas, pixels[start], pixels[end], color, thickness=HAND_BONE_WIDTH)
    for (x, y), value in zip(pixels, trust, strict=True):
        if x > 0 and y > 0:
            color = _scaled(HAND_JOINT_COLOR, value)
            cv2.circle(canvas, (x, y), JOINT_RADIUS, color, thickness=-1)


def _positive_pixels(points: np.ndarray, present: np.ndarray) -> list[tuple[int, int]]:
    """Points cut to integer pixels; absent ones get (0, 0), which hands and faces never draw."""
    pixels = np.where(np.asarray(present, bool)[:, None], points, 0.0)
    return [(int(x), int(y)) for x, y in pixels.tolist()]


def _near_canvas(fractions: np.ndarray) -> np.ndarray:
    """False for points absurdly far away, whose pixels OpenCV's integers could not hold."""
    return (np.abs(fractions) < 16).all(-1)
