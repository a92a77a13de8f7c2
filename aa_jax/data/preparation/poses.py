"""Keypoints of a video to prepare: given beside the videos, or detected."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from aa_jax.data.preparation import media
from aa_jax.data.preparation.layouts import Source
from aa_jax.files import readable
from aa_jax.media.video import VideoScan
from aa_jax.pose.canvas import Canvas
from aa_jax.pose.keypoints import KeypointsError
from aa_jax.pose.reading import Poses, read_poses
from aa_jax.pose.sizes import without_spots

if TYPE_CHECKING:
    from aa_jax.pose.detectors import Detector, DetectorName
    from aa_jax.pose.people import Detections


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Pose detection in one process.

    Attributes:
      name, dwpose, pose_models, provider: see `aa_jax.pose.detection.open_detector`.
      track: follow one person through the clip, see `Detections.keypoints`.
      threads: CPU threads per network; 0: as many as there are cores.
    """

    name: DetectorName = "auto"
    dwpose: Path | None = None
    pose_models: Path | None = None
    provider: str = "auto"
    track: bool = False
    threads: int = 0


def given_poses(
    folder: Path,
    source: Source,
    scan: VideoScan,
    *,
    size: tuple[int, int] | None = None,
    track: bool = False,
) -> tuple[Poses, tuple[str, ...]]:
    """Reads keypoints made elsewhere.

    For a video `a/b.mp4` they are `a/b.npz` or `a/b.json` below `folder`, or a folder `a/b` of one
    `.json` per frame, in pixels of the upright video unless they name their own canvas.

    Args:
      size: width and height of the canvas of those that name none; None: the video's.
      track: of several people follow one through the clip, see `Detections.keypoints`.

    Returns:
      Keypoints at the video's size, and what had to be guessed.

    Raises:
      KeypointsError: there are none, they cannot be read, or they are not one per frame.
    """
    stem = folder / source.stem
    places = [stem.with_name(stem.name + suffix) for suffix in (".npz", ".json")] + [stem]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise KeypointsError(f"no keypoints {stem}.npz, {stem}.json or {stem}/*_keypoints.json")
    canvas = Canvas(scan.width, scan.height, "the video's", guessed=True)
    if size:
        canvas = Canvas(*size, "--poses-size")
    notes: list[str] = []
    keypoints, people = read_poses(
        path,
        who="tracked" if track else "best",
        canvas=canvas,
        frames=len(scan.times),
        report=notes.append,
    )
    if len(keypoints) != len(scan.times):
        raise KeypointsError(
            f"{path}: {len(keypoints)} frames of keypoints for {len(scan.times)} frames of video"
        )
    # The video's rate is the truth; JSON has none of its own.
    keypoints = dataclasses.replace(keypoints, fps=scan.fps).resized(scan.width, scan.height)
    said = f"warning: {path}: "  # the report names the video
    return Poses(keypoints, people), tuple(readable(note.removeprefix(said)) for note in notes)


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
    people, _ = without_spots(detections)
    keypoints = dataclasses.replace(people.keypoints(track=settings.track), fps=scan.fps)
    return Poses(keypoints, people.people_found)


def _detect_in_folder(path: Path, detector: Detector, scan: VideoScan, cache: Path) -> Detections:
    from aa_jax.pose import people

    # The entry's name stands for the pictures; the key, for the networks.
    known = people.load(cache, detector.key)
    if known and known.complete:
        return known.detections
    pictures = media.frames(path)
    frames: list[people.People] = []
    stream = detector.stream()
    while batch := list(itertools.islice(pictures, _BATCH)):
        frames += stream(batch)
    detections = people.Detections(tuple(frames), scan.width, scan.height, scan.fps)
    people.save(cache, detector.key, detections, complete=True)
    return detections


@functools.cache
def open_detector(settings: DetectorSettings) -> Detector:
    """The detector of this process.

    Raises:
      DetectionError: a library or a file is missing, or a file is another network.
      ConfigError: a setting is another detector's.
    """
    from aa_jax.pose import detection

    return detection.open_detector(
        settings.name,
        dwpose=settings.dwpose,
        pose_models=settings.pose_models,
        provider=settings.provider,
        threads=settings.threads,
    )


_BATCH = 8
