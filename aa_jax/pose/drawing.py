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

    Returns:
      [height, width, 3] uint8, red first.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    size = np.array([width, height], np.float64)
    _draw_bodies(canvas, np.asarray(body, np.float64) * size, body_present)
    for points, present in zip(np.asarray(hands, np.float64) * size, hands_present, strict=True):
        _draw_hand(canvas, points, present)
    for points, present in zip(np.asarray(faces, np.float64) * size, faces_present, strict=True):
        for x, y in _positive_pixels(points, present):
            if x > 0 and y > 0:
                cv2.circle(canvas, (x, y), FACE_RADIUS, FACE_COLOR, thickness=-1)
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
        )
        if picture.shape[:2] != (height, width):
            picture = cv2.resize(picture, (width, height), interpolation=interpolation)
        pictures[t] = picture
    return pictures


def _draw_bodies(canvas: np.ndarray, points: np.ndarray, present: np.ndarray) -> None:
    """Limbs of all people (points: [people, 18, 2] pixels), then their joints."""
    people = [
        (person.tolist(), there.tolist())
        for person, there in zip(points, np.asarray(present, bool), strict=True)
    ]
    for (start, end), color in zip(BODY_LIMBS, LIMB_COLORS, strict=False):
        for person, there in people:
            if there[start] and there[end]:
                cv2.fillConvexPoly(canvas, _limb_polygon(person[start], person[end]), color)
    for joint, color in enumerate(BODY_COLORS):
        for person, there in people:
            if there[joint]:
                x, y = person[joint]
                cv2.circle(canvas, (int(x), int(y)), JOINT_RADIUS, color, thickness=-1)


def _limb_polygon(start: list[float], end: list[float]) -> np.ndarray:
    """Outline of the ellipse between two points; pixels are cut to integers only at the end."""
    (x0, y0), (x1, y1) = start, end
    length = math.sqrt((y0 - y1) ** 2 + (x0 - x1) ** 2)
    angle = math.degrees(math.atan2(y0 - y1, x0 - x1))
    center = (int((x0 + x1) / 2), int((y0 + y1) / 2))
    return cv2.ellipse2Poly(center, (int(length / 2), LIMB_HALF_WIDTH), int(angle), 0, 360, 1)


def _draw_hand(canvas: np.ndarray, points: np.ndarray, present: np.ndarray) -> None:
    """Bones, then joints, of one hand (points: [21, 2] pixels)."""
    if not np.any(present):
        return
    pixels = _positive_pixels(points, present)
    for (start, end), color in zip(HAND_BONES, HAND_BONE_COLORS, strict=True):
        if min(*pixels[start], *pixels[end]) > 0:
            cv2.line(canvas, pixels[start], pixels[end], color, thickness=HAND_BONE_WIDTH)
    for x, y in pixels:
        if x > 0 and y > 0:
            cv2.circle(canvas, (x, y), JOINT_RADIUS, HAND_JOINT_COLOR, thickness=-1)


def _positive_pixels(points: np.ndarray, present: np.ndarray) -> list[tuple[int, int]]:
    """Points cut to integer pixels; absent ones get (0, 0), which hands and faces never draw."""
    pixels = np.where(np.asarray(present, bool)[:, None], points, 0.0)
    return [(int(x), int(y)) for x, y in pixels.tolist()]


def _near_canvas(fractions: np.ndarray) -> np.ndarray:
    """False for points absurdly far away, whose pixels OpenCV's integers could not hold."""
    return (np.abs(fractions) < 16).all(-1)
