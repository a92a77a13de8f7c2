"""Puppets: an endless world of small animated characters, made on the fly from three numbers.

Nothing has to be downloaded: split, seed and index name a character, its clothes, the background
and a motion that never ends; every frame comes with exact keypoints and the character's mask.

    clip = make_clip("train", seed=0, index=7)
    pictures, masks = clip.render(range(16), width=64, height=64)
    keypoints = clip.keypoints(range(16), width=64, height=64)

Splits draw from unrelated random streams, so no character of `eval` is ever seen in `train`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from aa_jax.pose.keypoints import BODY_JOINTS, NUM_HAND_POINTS, Keypoints
from aa_jax.puppets.backgrounds import paint_background
from aa_jax.puppets.characters import Background, Character, draw_background, draw_character
from aa_jax.puppets.drawing import draw_figure
from aa_jax.puppets.motion import FPS, Motion, Pose, draw_motion, pose_at
from aa_jax.puppets.parts import make_sprites

_CANVAS = 192  # least shorter side, in pixels, of the canvas that figures are drawn on


@dataclasses.dataclass(frozen=True, eq=False)
class PuppetClip:
    """One character before one background, in endless motion at 12 frames per second."""

    character: Character
    background: Background
    motion: Motion
    _painted: dict = dataclasses.field(default_factory=dict, repr=False)

    def render(
        self, frames: Sequence[int], width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws frames.

        Args:
          frames: indices from 0 up, in any order.
          width, height: pixels.

        Returns:
          pictures [t, height, width, 3] uint8, and masks [t, height, width] bool of the character.
        """
        finer = max(2, -(-_CANVAS // min(width, height)))
        density = float(finer * min(width, height))
        if (width, height) not in self._painted:
            self._painted[width, height] = (
                make_sprites(self.character, self.motion, density),
                paint_background(self.background, width, height),
            )
        sprites, background = self._painted[width, height]
        corner = ((finer * width - density) / 2, (finer * height - density) / 2)
        pose = pose_at(self.character.body, self.motion, np.asarray(frames))
        canvas = np.empty((finer * height, finer * width, 4), np.uint8)
        pictures = np.empty((len(frames), height, width, 3), np.uint8)
        masks = np.empty((len(frames), height, width), bool)
        for t in range(len(frames)):
            canvas[:] = 0
            draw_figure(canvas, self.character, self.motion, sprites, pose, t, density, corner)
            alpha = cv2.threshold(cv2.extractChannel(canvas, 3), 0, 255, cv2.THRESH_BINARY)[1]
            # The canvas is black where it is empty, so averages are premultiplied by alpha.
            figure = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)[..., :3]
            alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
            behind = background * (255 - alpha[..., None].astype(np.uint16))
            pictures[t] = figure + ((behind + 127) // 255).astype(np.uint8)
            masks[t] = alpha > 127
        return pictures, masks

    def keypoints(
        self, frames: Sequence[int], width: int, height: int, *, hands: bool = False
    ) -> Keypoints:
        """Exact keypoints of frames, in pixels of a width x height picture.

        Args:
          frames: indices from 0 up, in any order.
          width, height: pixels.
          hands: whether the 21 points of each hand are present.
        """
        body = self.character.body
        pose = pose_at(body, self.motion, np.asarray(frames))
        t = len(frames)
        points = {"neck": pose.points["neck"], **_face_points(self.character, pose)}
        for side in ("right", "left"):
            points[f"{side}_shoulder"] = pose.points[f"{side}_upper_arm"]
            points[f"{side}_elbow"] = pose.points[f"{side}_forearm"]
            points[f"{side}_wrist"] = pose.points[f"{side}_hand"]
            points[f"{side}_hip"] = pose.points[f"{side}_thigh"]
            points[f"{side}_knee"] = pose.points[f"{side}_shin"]
            points[f"{side}_ankle"] = pose.points[f"{side}_foot"]
        stage = min(width, height)
        corner = np.array([(width - stage) / 2, (height - stage) / 2])
        joints = np.stack([points[name] for name in BODY_JOINTS], 1)
        fingers = np.stack([_hand_points(body.hand, pose, side) for side in ("left", "right")], 1)
        return Keypoints(
            body=joints * stage + corner,
            body_scores=np.ones((t, len(BODY_JOINTS))),
            width=width,
            height=height,
            fps=FPS,
            hands=(fingers * stage + corner) if hands else None,
            hand_scores=np.ones((t, 2, NUM_HAND_POINTS)) if hands else None,
        )


def _face_points(character: Character, pose: Pose) -> dict[str, np.ndarray]:
    """Nose, eyes and ears, each [t, 2] in stage units."""
    rx, ry = character.body.head_radii
    angle = pose.angles["head"]
    across = np.stack([np.cos(angle), -np.sin(angle)], -1)
    down = np.stack([np.sin(angle), np.cos(angle)], -1)
    turn = 0.26 * rx * pose.yaw

    def place(x: np.ndarray | float, y: float) -> np.ndarray:
        return pose.points["head"] + np.reshape(x, (-1, 1)) * across + y * down

    return {
        "nose": place(turn, 0.3 * ry),
        "right_eye": place(turn - 0.4 * rx, 0.1 * ry),
        "left_eye": place(turn + 0.4 * rx, 0.1 * ry),
        "right_ear": place(-0.96 * rx, 0.1 * ry),
        "left_ear": place(0.96 * rx, 0.1 * ry),
    }


def _hand_points(size: float, pose: Pose, side: str) -> np.ndarray:
    """Wrist and five fingers with four joints each, fanned out, [t, 21, 2] in stage units."""
    angle = pose.angles[f"{side}_forearm"]
    thumb = -1.0 if side == "left" else 1.0
    wrist = pose.points[f"{side}_hand"]
    points = [wrist]
    for finger in range(5):
        direction = angle + thumb * (0.9, 0.35, 0.1, -0.15, -0.4)[finger]
        step = np.stack([np.sin(direction), np.cos(direction)], -1)
        reach = size * (1.1 if finger == 0 else 1.7)
        points += [wrist + reach * share * step for share in (0.4, 0.65, 0.85, 1.0)]
    return np.stack(points, 1)


def make_clip(split: str, seed: int, index: int) -> PuppetClip:
    """The clip that split, seed and index name; the same for ever, on any machine."""
    entropy = [zlib.crc32(split.encode()), seed, index]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    return PuppetClip(
        character=draw_character(rng), background=draw_background(rng), motion=draw_motion(rng)
    )


@dataclasses.dataclass(frozen=True)
class PuppetClips:
    """`clips` clips as a random-access source, as grain wants it.

    Attributes:
      split, seed: name the stream; clip i is `make_clip(split, seed, i)`.
      clips: how many there are.
    """

    split: str
    seed: int
    clips: int

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> PuppetClip:
        if not 0 <= index < self.clips:
            raise IndexError(f"clip {index} of {self.clips}")
        return make_clip(self.split, self.seed, int(index))
