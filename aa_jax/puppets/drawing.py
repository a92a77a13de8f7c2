"""Puts a puppet together: every body part is a sprite, turned into place from back to front."""

from __future__ import annotations

import math

import cv2
import numpy as np

from aa_jax.puppets.characters import Character
from aa_jax.puppets.motion import Motion, Pose
from aa_jax.puppets.sprites import Sprite


def draw_figure(
    canvas: np.ndarray,
    character: Character,
    motion: Motion,
    sprites: dict[str, Sprite],
    pose: Pose,
    t: int,
    density: float,
    corner: tuple[float, float],
) -> None:
    """Draws frame `t` of a pose on a transparent RGBA canvas.

    Args:
      canvas: [h, w, 4] uint8, changed in place.
      density: pixels per stage unit.
      corner: pixel (x, y) of the stage's upper left corner.
    """
    points = {name: point[t].tolist() for name, point in pose.points.items()}
    angles = {name: float(angle[t]) for name, angle in pose.angles.items()}
    yaw = float(pose.yaw[t])

    def put(name: str, point: str, angle: float, dx: float = 0.0, stretch: float = 1.0) -> None:
        if name not in sprites:
            return
        x, y = points[point]
        sine, cosine = math.sin(angle), math.cos(angle)
        x, y = x + cosine * dx, y - sine * dx  # dx: along the part's own x axis
        _stamp(
            canvas, sprites[name], x * density + corner[0], y * density + corner[1], sine, cosine,
            stretch,
        )  # fmt: skip

    def arm(side: str) -> None:
        put("hand", f"{side}_hand", angles[f"{side}_forearm"])
        put("forearm", f"{side}_forearm", angles[f"{side}_forearm"])
        put("upper_arm", f"{side}_upper_arm", angles[f"{side}_upper_arm"])

    def leg(side: str) -> None:
        tip = 0.5 * angles[f"{side}_shin"] if motion.facing else 0.0
        put(f"{side}_shoe", f"{side}_foot", tip)
        put("shin", f"{side}_shin", angles[f"{side}_shin"])
        put("thigh", f"{side}_thigh", angles[f"{side}_thigh"])

    # A body turned to the picture's right hides its left side, and the other way round.
    near, far = ("left", "right") if motion.facing < 0 else ("right", "left")
    head, rx = angles["head"], character.body.head_radii[0]
    put("hair_back", "head", head, dx=-0.06 * rx * yaw)
    if motion.facing:
        arm(far)
    leg(far)
    leg(near)
    put("hips", "pelvis", angles["torso"])
    swing = 0.5 * (angles["right_thigh"] + angles["left_thigh"])
    spread = abs(angles["left_thigh"] - angles["right_thigh"])
    put("neck", "neck", head + math.pi)
    put("torso", "neck", angles["torso"])
    put("skirt", "pelvis", 0.5 * swing + 0.5 * angles["torso"], stretch=1.0 + 0.35 * spread)
    put("skull", "head", head)
    put("face", "head", head, dx=0.26 * rx * yaw)
    put("hair_front", "head", head, dx=0.04 * rx * yaw)
    if not motion.facing:
        arm(far)
    arm(near)


def _stamp(
    canvas: np.ndarray,
    sprite: Sprite,
    x: float,
    y: float,
    sine: float,
    cosine: float,
    stretch: float,
) -> None:
    """Copies a sprite, turned by an angle and stretched across, with its origin at (x, y)."""
    ox, oy = sprite.origin
    height, width = sprite.picture.shape[:2]
    # The part's y axis points along (sine, cosine), its x axis along (cosine, -sine).
    xs = (-ox * stretch, (width - ox) * stretch)
    ys = (-oy, height - oy)
    across = [cosine * u + sine * v for u in xs for v in ys]
    down = [-sine * u + cosine * v for u in xs for v in ys]
    left, right = max(int(x + min(across)) - 1, 0), min(int(x + max(across)) + 2, canvas.shape[1])
    top, bottom = max(int(y + min(down)) - 1, 0), min(int(y + max(down)) + 2, canvas.shape[0])
    if left >= right or top >= bottom:
        return
    # Inverse map, from pixel centres of the region to pixel centres of the sprite.
    dx, dy = left + 0.5 - x, top + 0.5 - y
    matrix = np.array(
        [
            [cosine / stretch, -sine / stretch, (cosine * dx - sine * dy) / stretch + ox - 0.5],
            [sine, cosine, sine * dx + cosine * dy + oy - 0.5],
        ]
    )
    region = cv2.warpAffine(
        sprite.picture,
        matrix,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    solid = cv2.threshold(cv2.extractChannel(region, 3), 127, 255, cv2.THRESH_BINARY)[1]
    cv2.copyTo(region, solid, canvas[top:bottom, left:right])
