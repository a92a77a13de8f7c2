"""Poses of real pictures and videos.

    detector = open_detector("auto")                   # DWPose where its files are, else BlazePose
    people = detect_people(Path("dance.mp4"), detector)  # everyone in every frame
    keypoints = people.keypoints(track=True)             # one of them

What is detected in a video is kept beside it and found again by the content of the video and of the
networks.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from aa_jax import files
from aa_jax.pose import people
from aa_jax.pose.detectors import DetectionError, Detector, open_detector
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.people import Detections

__all__ = [
    "DetectionError",
    "Detector",
    "detect_people",
    "detect_picture",
    "detect_video",
    "open_detector",
]

CACHE_SUFFIX = ".poses.npz"
"""Detections of `dance.mp4` are kept in `dance.mp4.poses.npz`."""

Progress = bool | Callable[[int, int], None]
"""Whether to show a bar, or what is told how many frames are done, and of how many (0: unknown)."""

_BATCH = 8  # frames that pass through the networks together
_BATCH_BYTES = 2**27  # of frames, two batches of which are in memory; 4K passes in smaller ones
_SAVE_EVERY = 32  # batches


def detect_picture(picture: UInt8[np.ndarray, "h w 3"], detector: Detector) -> Keypoints:
    """Keypoints, of one frame, of the person with the highest mean body score in an RGB picture."""
    height, width = picture.shape[:2]
    return Detections(tuple(detector([picture])), width, height, fps=1.0).keypoints()


def detect_video(
    path: str | Path,
    detector: Detector,
    *,
    track: bool = False,
    cache: str | Path | None = None,
    progress: Progress = False,
) -> Keypoints:
    """Keypoints of one person in a video; see `detect_people` for everyone's.

    They are those of every frame; of a variable rate, of the frames shown at a constant one.

    Args:
      track: follow one person through the clip; otherwise every frame takes the person with the
        highest mean body score.
      cache: see `detect_people`.
      progress: see `Progress`.
    """
    from aa_jax.media.video import scan_video

    people = detect_people(path, detector, cache=cache, progress=progress)
    return people.keypoints(track=track)[scan_video(path).steady_frames]


def detect_people(
    path: str | Path,
    detector: Detector,
    *,
    cache: str | Path | None = None,
    progress: Progress = False,
    max_frames: int | None = None,
) -> Detections:
    """Everyone in every frame of a video, as it is decoded; memory does not grow with its size.

    A call that was killed goes on where the last saved part ends.

    Args:
      cache: file for the detections; by default the video's path with `.poses.npz` appended, or
        none where nothing can be written beside the video. It is used again only for the same
        content of the video and the networks, and otherwise replaced.
      progress: see `Progress`.
      max_frames: detect at most so many frames, from the start.

    Raises:
      VideoError: the video cannot be read.
    """
    from aa_jax.media.video import open_video

    path = Path(path)
    file = Path(cache) if cache is not None else path.with_name(path.name + CACHE_SUFFIX)
    with open_video(path) as video:
        caching = cache is not None or people.is_writable(file.parent)
        key = f"2:{files.sha256(path)}+{detector.key}" if caching else ""
        known = people.load(file, key) if caching else None
        if known and (known.complete or len(known.detections) >= (max_frames or np.inf)):
            return _first(known.detections, max_frames)
        frames, size, state = [], None, None
        if known:
            frames, state = list(known.detections.frames), known.state
            size = known.detections.width, known.detections.height
        stream = detector.stream(state)
        rest = itertools.islice(video.frames, len(frames), max_frames)
        total = min(video.count, max_frames or video.count)
        with (
            contextlib.closing(_ahead(_batches(rest))) as batches,
            _telling(path, progress, len(frames), total) as tell,
        ):
            for count, pictures in enumerate(batches, 1):
                size = size or pictures[0].shape[1::-1]
                frames += stream(pictures)
                tell(len(frames))
                if caching and count % _SAVE_EVERY == 0:
                    part = Detections(tuple(frames), *size, video.fps)
                    people.save(file, key, part, complete=False, state=stream.state)
        detections = Detections(tuple(frames), *size, video.fps)
        if caching:
            complete = max_frames is None
            people.save(file, key, detections, complete=complete, state=stream.state)
        return detections


def _first(detections: Detections, max_frames: int | None) -> Detections:
    frames = detections.frames[:max_frames]
    return Detections(frames, detections.width, detections.height, detections.fps)


def _batches(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _BATCH or len(batch) * frame.nbytes >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _ahead(batches: Iterator[list[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    """The same, each decoded while the networks see the one before; close it before the video."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while batch := coming.result():
            coming = pool.submit(next, batches, None)
            yield batch


@contextlib.contextmanager
def _telling(path: Path, progress: Progress, done: int, total: int) -> Iterator[Callable]:
    """What is to be told how many frames are done."""
    if callable(progress):
        progress(done, total)
        yield lambda count: progress(count, total)
        return
    from tqdm import tqdm

    label = f"poses of {path.name}"
    with tqdm(
        total=total or None,
        initial=done,
        desc=label,
        unit="frame",
        disable=not progress,
        leave=False,
    ) as bar:
        yield lambda count: bar.update(count - bar.n)
