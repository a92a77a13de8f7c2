"""What `--poses` may be, and how it becomes skeleton pictures."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from aa_jax import files
from aa_jax.config import SkeletonConfig
from aa_jax.media.pictures import BLACK, resize
from aa_jax.sampling import pose_flags
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
    source = _fitted(request, output, progress, report)
    skeletons, fps, aspect = load_skeletons(
        source,
        width=request.width,
        height=request.height,
        style=request.config.skeleton,
        max_frames=request.most_frames,
        report=report,
    )
    if len(skeletons) < request.least_frames:
        raise SamplingError(
            f"{request.poses.driving or request.poses.path}: has {len(skeletons)} frames, "
            f"--frames asks for {request.least_frames}"
        )
    height, width = request.reference.shape[:2]
    _warn_of_distortion("reference picture", width / height, request)
    _warn_of_distortion("canvas of the poses", aspect, request)
    return skeletons, fps


def _fitted(request, output, progress, report) -> Path | Keypoints:
    """The poses as given, or made from a driving video or for the reference's body."""
    source = request.poses
    keypoints = None
    if not source.driving:
        if not source.path.exists() or pose_flags.kind_of(source.path) == "pictures":
            return source.path
        keypoints = _keypoints_of(request, report)
        if source.reference_poses is None:
            return keypoints
    from aa_jax.sampling import driving

    names = (field.name for field in dataclasses.fields(driving.DrivingOptions))
    given = {name: getattr(source, name) for name in names}
    common = {
        "options": driving.DrivingOptions(**{name: x for name, x in given.items() if x}),
        "report": report,
    }
    if keypoints is not None:
        return driving.fit_poses(
            keypoints, source.reference_poses, request.reference, output, **common
        )
    from aa_jax.pose.detection import open_detector

    detector = open_detector(
        source.detector or "auto",
        dwpose=source.dwpose,
        pose_models=source.pose_models,
        report=report,
    )
    return driving.poses_from_video(
        source.driving,
        request.reference,
        output,
        style=request.config.skeleton,
        detector=detector,
        reference_poses=source.reference_poses,
        max_frames=request.most_frames,
        progress=progress,
        **common,
    )


def _keypoints_of(request: Request, report: Callable[[str], None]) -> Keypoints:
    """The person of keypoint files that is asked for, smoothed if that is asked for."""
    from aa_jax.pose.canvas import Canvas
    from aa_jax.pose.people import warn_of_absence, warn_of_crowds
    from aa_jax.pose.reading import read_poses
    from aa_jax.pose.smoothing import fill_gaps, smooth

    source, threshold = request.poses, request.config.skeleton.threshold
    height, width = request.reference.shape[:2]
    canvas = Canvas(width, height, "the reference picture's", guessed=True)
    if source.poses_size:
        canvas = Canvas(*source.poses_size, "--poses_size")
    keypoints, people = read_poses(
        source.path,
        who=source.person or "best",
        canvas=canvas,
        most_frames=request.most_frames,
        threshold=threshold,
        report=report,
    )
    if source.person is None:
        warn_of_crowds(source.path, people, report)
    if source.smoothing not in (None, "none"):
        filled = fill_gaps(keypoints, threshold=threshold)
        keypoints = smooth(filled, source.smoothing, threshold=threshold)
    warn_of_absence(source.path, keypoints, threshold, report)
    return keypoints


def _warn_of_distortion(what: str, aspect: float, request: Request) -> None:
    wanted = request.width / request.height
    if abs(aspect / wanted - 1) > 0.05:
        print(
            f"warning: the {what} has aspect ratio {aspect:.2f}, the video {wanted:.2f}, "
            "and is stretched to it; choose --width and --height accordingly",
            file=sys.stderr,
        )


def load_skeletons(
    source: str | Path | Keypoints,
    *,
    width: int,
    height: int,
    style: SkeletonConfig,
    max_frames: int | None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[UInt8[np.ndarray, "t h w 3"] | DrawnSkeletons, float, float]:
    """Skeleton pictures of any source of poses.

    Args:
      source: keypoints, a file or folder of them (docs/poses.md), a folder of skeleton pictures,
        or a skeleton video.
      width: of the pictures returned, pixels.
      height: of the pictures returned, pixels.
      style: how keypoints are drawn.
      max_frames: use at most so many frames, from the start; None: all.
      report: takes lines about what is done to a video to show it.

    Returns:
      Pictures uint8 [t, height, width, 3] (those of keypoints are drawn when indexed), frames per
      second, and the source's aspect ratio (width / height).
    """
    from aa_jax.pose.keypoints import Keypoints

    if not isinstance(source, Keypoints):
        path = Path(source)
        if not path.exists():
            raise PosesError(f"{path}: no such file or folder of poses")
        if pose_flags.kind_of(path) == "pictures":
            return _from_pictures(path, width, height, max_frames, report)
        source = Keypoints.load(path)
    keypoints = source[:max_frames]
    skeletons = DrawnSkeletons(keypoints, width, height, style)
    return skeletons, keypoints.fps, keypoints.width / keypoints.height


def _from_pictures(
    path: Path,
    width: int,
    height: int,
    max_frames: int | None,
    report: Callable[[str], None],
):
    """Pictures resized one by one: those of a long video do not fit in memory at their size."""
    if path.is_dir():
        return _resized(_read_folder(path, max_frames), FOLDER_FPS, width, height)
    from aa_jax.media.video import open_video, scan_video

    for note in scan_video(path).notes:
        report(f"{path}: {note}")
    with open_video(path, steady=True, background=BLACK) as video:
        frames = itertools.islice(video.frames, max_frames)
        return _resized(frames, video.fps, width, height)


def _resized(frames: Iterable[UInt8[np.ndarray, "y x 3"]], fps: float, width: int, height: int):
    pictures, aspect = [], 1.0
    for frame in frames:
        aspect = frame.shape[1] / frame.shape[0]
        pictures.append(resize(frame, width, height))
    return np.stack(pictures), fps, aspect


def _read_folder(path: Path, max_frames: int | None) -> Iterator[UInt8[np.ndarray, "y x 3"]]:
    from aa_jax.media.pictures import SUFFIXES, read_frames

    paths = files.numbered(path, SUFFIXES)
    if not paths:
        raise PosesError(f"{path}: holds no pictures and no *_keypoints.json, so no poses")
    yield from read_frames(paths[:max_frames], BLACK)
