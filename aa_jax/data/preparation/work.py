"""The work on one video, done in a process of its own: read, find poses, judge, store.

Everything dear is kept in a cache named by the video's bytes and name, so that a killed run goes on
where it stopped and a second run with other rules detects nothing again:

    cache/<video>/scan-*.json     what the video holds
    cache/<video>/poses.npz       detected keypoints
    cache/<video>/clip-*/         frames and keypoints as the dataset takes them
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from aa_jax import files
from aa_jax.data.preparation import filters, media
from aa_jax.data.preparation.layouts import Source
from aa_jax.data.preparation.poses import DetectorSettings, Poses, detected_poses, given_poses
from aa_jax.media.video import VideoScan

STORE_VERSION = 2
"""Part of the names of scans and clips; to be raised when videos are read or stored otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a process needs to know about the whole preparation.

    Attributes:
      cache: folder of the caches.
      keypoints: folder of given keypoints; None: they are detected.
      detector: model files, where keypoints are detected.
      poses_size: width and height of the canvas of given keypoints that do not say so.
      track: follow one of several people in given keypoints.
    """

    cache: Path
    keypoints: Path | None
    detector: DetectorSettings | None
    rules: filters.Rules
    media: media.MediaSettings
    poses_size: tuple[int, int] | None = None
    track: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
      refusals: broken rules, each with a figure; for `left out`.
      cause: what is wrong, in one line; for `broken`.
      notes: what was done to it, e.g. turned upright.
      guesses: what its keypoints do not say and was taken for granted.
      clip: folder of the stored clip; for `kept`.
    """

    source: Source
    status: Literal["kept", "left out", "broken"]
    refusals: tuple[tuple[str, str], ...] = ()
    cause: str = ""
    notes: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()
    clip: Path | None = None

    @property
    def reason(self) -> str:
        """Why it was not kept, in one line."""
        return self.cause or "; ".join(f"{rule}: {figure}" for rule, figure in self.refusals)


def prepare_video(source: Source, task: Task) -> Outcome:
    """Does one video; whatever is wrong with it becomes an outcome."""
    try:
        return _prepare(source, task)
    except Exception as error:
        # A defect met in one file of thousands must not stop the rest; its kind tells it apart.
        ours = type(error).__module__.startswith("aa_jax")
        text = " ".join(str(error).split())
        if isinstance(error, OSError):
            text = error.strerror or text
        elif not ours:
            text = f"{type(error).__name__}: {text}"
        cause = files.readable(text.removeprefix(f"{source.path}: "))
        return Outcome(source, "broken", cause=cause)


def _prepare(source: Source, task: Task) -> Outcome:
    # The name too, so that two copies of a video never share an entry that both write.
    name = f"{zlib.crc32(os.fsencode(source.name)):08x}"
    entry = task.cache / f"{media.content_hash(source.path)}-{name}"
    scan = _scan(entry, source.path)
    poses, guesses = _poses(entry, source, scan, task)
    wanted = scan.steady_frames
    poses = Poses(poses.keypoints[wanted], poses.people[wanted])
    refusals = tuple(filters.refusals(task.rules, *poses))
    notes = tuple(_notes(scan, task.media))
    if refusals:
        return Outcome(source, "left out", refusals=refusals, notes=notes, guesses=guesses)
    clip = entry / f"clip-{_clip_key(poses, task.media)}"
    if not clip.exists():
        with files.replacing(clip) as folder:
            media.store(folder, media.frames(source.path), wanted, poses.keypoints, task.media)
    return Outcome(source, "kept", notes=notes, guesses=guesses, clip=clip)


def _scan(entry: Path, path: Path) -> VideoScan:
    kept = entry / f"scan-{STORE_VERSION}.json"
    if kept.exists():
        values = json.loads(kept.read_text())
        times = np.array(values["times"], np.float64)
        return VideoScan(**{**values, "times": times, "changes": tuple(values["changes"])})
    scan = media.scan(path)
    entry.mkdir(parents=True, exist_ok=True)
    values = {**dataclasses.asdict(scan), "times": scan.times.tolist()}
    files.write_text(kept, json.dumps(values))
    return scan


def _poses(
    entry: Path, source: Source, scan: VideoScan, task: Task
) -> tuple[Poses, tuple[str, ...]]:
    """Keypoints, and what had to be guessed about them."""
    if task.keypoints is not None:
        return given_poses(task.keypoints, source, scan, size=task.poses_size, track=task.track)
    return detected_poses(task.detector, source, scan, entry), ()


def _notes(scan: VideoScan, settings: media.MediaSettings) -> list[str]:
    notes = list(scan.notes)
    if min(scan.width, scan.height) > settings.short_side:
        size = f"{scan.width}x{scan.height} pixels"
        notes.append(f"{size}, shrunk to {settings.short_side} on the shorter side")
    return notes


def _clip_key(poses: Poses, settings: media.MediaSettings) -> str:
    keypoints = dataclasses.asdict(poses.keypoints)
    parts = [STORE_VERSION, dataclasses.asdict(settings)]
    parts += [keypoints[name] for name in ("width", "height", "fps")]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for name, value in sorted(keypoints.items()):
        if isinstance(value, np.ndarray):
            digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()[:16]
