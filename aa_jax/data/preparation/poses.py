"""Keypoints of a video to prepare: given beside the videos, or detected."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int

from aa_jax.data.preparation import media
from aa_jax.data.preparation.layouts import Source
from aa_jax.files import numbered
from aa_jax.media.video import VideoScan
from aa_jax.pose.keypoints import Keypoints, KeypointsError

if TYPE_CHECKING:
    from aa_jax.pose.detection import Detector
    from aa_jax.pose.people import Detections


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Pose detection in one process.

    Attributes:
      files: the networks of `aa_jax.pose.detection.model_files`.
      provider: `auto`, `cpu` or `cuda`.
      track: follow one person through the clip, see `Detections.keypoints`.
      threads: CPU threads per network; 0: as many as there are cores.
    """

    files: tuple[Path, Path]
    provider: str = "auto"
    track: bool = False
    threads: int = 0


class Poses(NamedTuple):
    """Keypoints of every frame, and how many persons each frame shows."""

    keypoints: Keypoints
    people: Int[np.ndarray, " t"]


def given_poses(folder: Path, source: Source, scan: VideoScan) -> Poses:
    """Reads keypoints made elsewhere.

    For a video `a/b.mp4` they are `a/b.npz` or `a/b.json` below `folder`, or a folder `a/b` of
    OpenPose's `NNNNNN_keypoints.json`, one per frame, in pixels of the upright video.

    Raises:
      KeypointsError: there are none, they cannot be read, or they are not one per frame.
    """
    stem = folder / source.stem
    places = [stem.with_name(stem.name + suffix) for suffix in (".npz", ".json")] + [stem]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise KeypointsError(f"no keypoints {stem}.npz, {stem}.json or {stem}/*_keypoints.json")
    size = {} if path.suffix == ".npz" else {"width": scan.width, "height": scan.height}
    keypoints = Keypoints.load(path, **size)
    if len(keypoints) != len(scan.times):
        raise KeypointsError(
            f"{path}: {len(keypoints)} frames of keypoints for {len(scan.times)} frames of video"
        )
    # The video's rate is the truth; JSON has none of its own.
    keypoints = dataclasses.replace(keypoints, fps=scan.fps).resized(scan.width, scan.height)
    return Poses(keypoints, _count_people(path, keypoints))


def _count_people(path: Path, keypoints: Keypoints) -> Int[np.ndarray, " t"]:
    if path.suffix == ".npz":  # holds one person
        return (keypoints.body_scores > 0).any(1).astype(np.int64)
    paths = numbered(path, ["_keypoints.json"]) if path.is_dir() else [path]
    contents = [json.loads(file.read_text()) for file in paths]
    if path.is_file():  # a list of frames, an object that holds one, or a single frame
        content = contents[0]
        contents = content.get("frames", contents) if isinstance(content, dict) else content
    scores = [[person["pose_keypoints_2d"][2::3] for person in f["people"]] for f in contents]
    return np.array([sum(any(s > 0 for s in body) for body in frame) for frame in scores])


def detected_poses(
    settings: DetectorSettings, source: Source, scan: VideoScan, entry: Path
) -> Poses:
    """Detects keypoints, or takes them from the cache entry.

    Raises:
      VideoError: the video cannot be read.
      DetectionError: a network cannot be used.
    """
    from aa_jax.pose.detection import detect_people

    detector = open_detector(settings)
    cache = entry / "poses.npz"
    if source.path.is_dir():
        detections = _detect_in_folder(source.path, detector, scan, cache)
    else:
        detections = detect_people(source.path, detector, cache=cache)
    keypoints = dataclasses.replace(detections.keypoints(track=settings.track), fps=scan.fps)
    return Poses(keypoints, detections.people_found)


def _detect_in_folder(path: Path, detector: Detector, scan: VideoScan, cache: Path) -> Detections:
    from aa_jax.pose import people

    # The entry's name stands for the pictures; the key, for the networks.
    known, complete = people.load(cache, detector.key) or (None, False)
    if known and complete:
        return known
    pictures = media.frames(path)
    frames: list[people.People] = []
    while batch := list(itertools.islice(pictures, _BATCH)):
        frames += detector(batch)
    detections = people.Detections(tuple(frames), scan.width, scan.height, scan.fps)
    people.save(cache, detector.key, detections, complete=True)
    return detections


@functools.cache
def open_detector(settings: DetectorSettings) -> Detector:
    """The detector of this process.

    Raises:
      DetectionError: onnxruntime or a file is missing, or a file is another network.
    """
    from aa_jax.pose.detection import Detector

    return Detector(*settings.files, provider=settings.provider, threads=settings.threads)


_BATCH = 8
