"""What `--poses` may be, and how it becomes skeleton pictures."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from aa_jax import files
from aa_jax.config import SkeletonConfig
from aa_jax.media.pictures import resize
from aa_jax.sampling.pipeline import SamplingError

if TYPE_CHECKING:
    from aa_jax.pose.keypoints import Keypoints
    from aa_jax.sampling.request import Request

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


def skeletons_of(
    request: Request, output: Path, *, progress: bool, report: Callable[[str], None]
) -> tuple[UInt8[np.ndarray, "t h w 3"] | DrawnSkeletons, float]:
    """The skeleton pictures that a request asks for, and frames per second.

    Args:
      request: what is asked for.
      output: the video's path, beside which fitted poses and their report are written.
      progress: show bars.
      report: takes lines about what is being done.

    Raises:
      SamplingError: there are fewer poses than must be.
      PosesError, DrivingError, DetectionError, KeypointsError, VideoError: poses cannot be had.
    """
    path = _fitted(request, output, progress, report)
    skeletons, fps, aspect = load_skeletons(
        path,
        width=request.width,
        height=request.height,
        style=request.config.skeleton,
        max_frames=request.most_frames,
    )
    if len(skeletons) < request.least_frames:
        raise SamplingError(
            f"{path}: has {len(skeletons)} frames, --frames asks for {request.least_frames}"
        )
    height, width = request.reference.shape[:2]
    _warn_of_distortion("reference picture", width / height, request)
    _warn_of_distortion("poses", aspect, request)
    return skeletons, fps


def _fitted(request, output, progress, report) -> Path:
    """The file of poses: as given, or made from a driving video or for the reference's body."""
    source = request.poses
    if not source.driving and not source.reference_poses:
        return source.path
    from aa_jax.sampling import driving

    common = {
        "options": driving.DrivingOptions(
            person=source.person,
            smoothing=source.smoothing,
            retargeting=source.retargeting,
            anchor=source.anchor,
        ),
        "max_frames": request.most_frames,
        "report": report,
    }
    if not source.driving:
        return driving.fit_poses(
            source.path, source.reference_poses, request.reference, output, **common
        )
    return driving.poses_from_video(
        source.driving,
        request.reference,
        output,
        style=request.config.skeleton,
        dwpose=source.dwpose,
        reference_poses=source.reference_poses,
        progress=progress,
        **common,
    )


def _warn_of_distortion(what: str, aspect: float, request: Request) -> None:
    wanted = request.width / request.height
    if abs(aspect / wanted - 1) > 0.05:
        print(
            f"warning: the {what} has aspect ratio {aspect:.2f}, the video {wanted:.2f}, "
            "and is stretched to it; choose --width and --height accordingly",
            file=sys.stderr,
        )


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
    if path.suffix in (".npz", ".json") or (path.is_dir() and files.numbered(path, [".json"])):
        return _from_keypoints(path, width, height, style, max_frames)
    if path.is_dir():
        frames, fps = _read_folder(path, max_frames), FOLDER_FPS
    else:
        from aa_jax.media.video import read_video

        frames, fps = read_video(path, max_frames, background=(0, 0, 0))
    aspect = frames[0].shape[1] / frames[0].shape[0]
    return np.stack([resize(frame, width, height) for frame in frames]), fps, aspect


def _from_keypoints(path, width, height, style, max_frames):
    from aa_jax.pose.keypoints import Keypoints

    keypoints = Keypoints.load(path)[:max_frames]
    skeletons = DrawnSkeletons(keypoints, width, height, style)
    return skeletons, keypoints.fps, keypoints.width / keypoints.height


def _read_folder(path, max_frames):
    from aa_jax.media.pictures import BLACK, SUFFIXES, read_picture

    paths = files.numbered(path, SUFFIXES)
    if not paths:
        raise PosesError(f"{path}: holds no pictures and no *_keypoints.json, so no poses")
    return [read_picture(file, background=BLACK) for file in paths[:max_frames]]
