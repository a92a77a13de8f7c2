"""What `--poses` may be, and how it becomes skeleton pictures."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from aa_jax.config import SkeletonConfig
from aa_jax.media.pictures import resize

if TYPE_CHECKING:
    from aa_jax.pose.keypoints import Keypoints

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FOLDER_FPS = 24.0
"""Frame rate of skeletons that carry none: a folder of pictures."""


class PosesError(ValueError):
    """Poses cannot be used; the message names the path and what would be right."""


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnSkeletons:
    """Skeleton pictures of keypoints, drawn when they are asked for.

    Indexed by a slice or an array of frame indices, as the array of all pictures would be; only
    keypoints are kept, so that a long video costs no memory.

    Attributes:
      keypoints: one person over t frames.
      width: of the pictures, pixels.
      height: of the pictures, pixels.
      style: how they are drawn.
    """

    keypoints: Keypoints
    width: int
    height: int
    style: SkeletonConfig

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[t, height, width, 3]."""
        return len(self), self.height, self.width, 3

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, frames: slice | Int[np.ndarray, ...]) -> UInt8[np.ndarray, "... h w 3"]:
        from aa_jax.pose.drawing import draw_keypoints

        indices = np.arange(len(self))[frames]
        chosen = self.keypoints[indices.ravel()]
        pictures = draw_keypoints(chosen, self.width, self.height, self.style)
        return pictures.reshape(*indices.shape, *self.shape[1:])


def load_skeletons(
    path: str | Path, *, width: int, height: int, style: SkeletonConfig, max_frames: int | None
) -> tuple[UInt8[np.ndarray, "t h w 3"] | DrawnSkeletons, float, float]:
    """Skeleton pictures of any source of poses.

    Args:
      path: keypoints (`.npz`, OpenPose `.json`, a folder of `*_keypoints.json`), a folder of
        skeleton pictures, or a skeleton video.
      width: of the pictures returned, pixels.
      height: of the pictures returned, pixels.
      style: how keypoints are drawn.
      max_frames: use at most so many frames, from the start.

    Returns:
      Pictures uint8 [t, height, width, 3] (those of keypoints are drawn when indexed), frames per
      second, and the source's aspect ratio (width / height).
    """
    path = Path(path)
    if not path.exists():
        raise PosesError(f"{path}: no such file or folder of poses")
    if path.suffix in (".npz", ".json") or (path.is_dir() and any(path.glob("*.json"))):
        return _from_keypoints(path, width, height, style, max_frames)
    if path.is_dir():
        frames, fps = _read_folder(path, max_frames), FOLDER_FPS
    else:
        from aa_jax.media.video import read_video

        frames, fps = read_video(path, max_frames)
    aspect = frames[0].shape[1] / frames[0].shape[0]
    return np.stack([resize(frame, width, height) for frame in frames]), fps, aspect


def _from_keypoints(path, width, height, style, max_frames):
    from aa_jax.pose.keypoints import Keypoints

    keypoints = Keypoints.load(path)[:max_frames]
    skeletons = DrawnSkeletons(keypoints, width, height, style)
    return skeletons, keypoints.fps, keypoints.width / keypoints.height


def _read_folder(path, max_frames):
    from aa_jax.media.pictures import read_picture

    files = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    if not files:
        raise PosesError(f"{path}: holds no pictures and no *_keypoints.json, so no poses")
    # `frame_10` comes after `frame_9`.
    files.sort(key=lambda file: [int(s) if s.isdigit() else s for s in _NUMBERS.split(file.name)])
    return [read_picture(file) for file in files[:max_frames]]


_NUMBERS = re.compile(r"(\d+)")
