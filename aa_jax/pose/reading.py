"""The one reader of poses: keypoint files of every kind become people per frame, in pixels.

people = read_people(Path("dance.json"), canvas=Canvas(640, 480))
keypoints = people.keypoints(track=True)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from aa_jax import files
from aa_jax.pose.canvas import Canvas, Size, to_pixels
from aa_jax.pose.formats import Content, Frame, content_of
from aa_jax.pose.keypoints import Keypoints, read_npz
from aa_jax.pose.layout import KeypointsError
from aa_jax.pose.orders import BODY, NUM_POINTS
from aa_jax.pose.people import Detections, People, Who

FPS = 30.0
"""Frames per second of files that state no rate."""

NO_CANVAS = "names no canvas"
"""In every line about a canvas that was guessed."""

VISIBLE = 0.3
"""Joints of a higher score are drawn, unless the weights say otherwise."""

SUFFIX, OPENPOSE_SUFFIX = ".json", "_keypoints.json"


def json_files(folder: Path) -> list[Path]:
    """A folder's files of poses in order: OpenPose's `*_keypoints.json`, or else every `.json`."""
    return files.numbered(folder, [OPENPOSE_SUFFIX]) or files.numbered(folder, [SUFFIX])


def read_people(
    path: Path,
    *,
    canvas: Canvas | None = None,
    fps: float | None = None,
    frames: int | None = None,
    threshold: float = VISIBLE,
    report: Callable[[str], None] = lambda line: None,
) -> Detections:
    """Everyone in keypoint JSON, with the canvas they are measured on.

    Args:
      path: a `.json` of one frame or many, or a folder of one file per frame.
      canvas: for files that name none; a file's own canvas always comes first.
      fps: frames per second, for files that state none; 30 if not given.
      frames: how many frames the clip has, if that is known: some kinds leave out those of nobody.
      threshold: `People.found` counts those with a body joint of a higher score.
      report: takes a line, where a canvas was guessed or a given one is not needed.

    Raises:
      KeypointsError: in one line, with the file.
    """
    try:
        content = _content(path, frames)
        people = _people(content, canvas, fps, threshold)
    except KeypointsError as error:
        raise KeypointsError(f"{path}: {error}") from None
    if line := _about_canvas(content, canvas, people):
        report(f"warning: {path}: {line}")
    return people


class Poses(NamedTuple):
    """Keypoints of one person in every frame, and how many persons each frame shows."""

    keypoints: Keypoints
    people: Int[np.ndarray, " t"]


def read_poses(
    path: Path,
    *,
    who: Who = "best",
    most_frames: int | None = None,
    threshold: float = VISIBLE,
    **settings: Any,
) -> Poses:
    """One person's keypoints of a file of any kind, `.npz` included, which holds one person.

    Args:
      path: an `.npz`, a `.json`, or a folder of one `.json` per frame.
      who: which of several people, see `aa_jax.pose.people.Who`.
      most_frames: use at most so many frames, from the first.
      threshold: people are counted who have a body joint of a higher score.
      **settings: of `read_people`; an `.npz` needs none.

    Raises:
      KeypointsError: in one line, with the file.
    """
    if not path.exists():
        raise KeypointsError(f"{path}: no such file or folder of keypoints")
    if not (path.is_dir() or holds_keypoints(path)):
        raise KeypointsError(
            f"{path}: unknown kind of keypoints; give .npz, .json or a folder of *_keypoints.json"
        )
    if path.suffix.lower() == ".npz" and not path.is_dir():
        keypoints = read_npz(path)[:most_frames]
        poses = Poses(keypoints, (keypoints.body_scores > threshold).any(1).astype(int))
    else:
        people = read_people(path, threshold=threshold, **settings)
        people = dataclasses.replace(people, frames=people.frames[:most_frames])
        try:
            poses = Poses(people.follow(who), people.people_found)
        except KeypointsError as error:
            raise KeypointsError(f"{path}: {error}") from None
    scores = (poses.keypoints.body_scores, poses.keypoints.hand_scores, poses.keypoints.face_scores)
    if not any((part > 0).any() for part in scores):
        raise KeypointsError(f"{path}: no poses; every score is 0 or there is no frame")
    return poses


def holds_keypoints(path: Path) -> bool:
    """Whether a path is a file of keypoints by its name, or a folder that holds such files."""
    if path.is_dir():
        return bool(json_files(path))
    return path.suffix.lower() in (".npz", SUFFIX)


def _content(path: Path, frames: int | None) -> Content:
    if not path.is_dir():
        return content_of(_parsed(path), frames)
    paths = json_files(path)
    if not paths:
        raise KeypointsError("no poses; the folder has no *_keypoints.json file and no other .json")
    if len(paths) == 1:
        return content_of(_parsed(paths[0]), frames)
    found: list[Frame] = []
    rate = None
    for file in paths:
        try:
            content = content_of(_parsed(file))
        except KeypointsError as error:
            raise KeypointsError(f"{file.name}: {error}") from None
        if len(content.frames) != 1:
            raise KeypointsError(
                f"{file.name} holds {len(content.frames)} frames; a folder has one per file, "
                "else name the file itself"
            )
        frame = content.frames[0]
        found.append(Frame(frame.people, frame.size or content.size))
        rate = rate or content.fps
    return Content(found, None, rate)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())  # bytes: UTF-8 with a mark and UTF-16 are told
    except OSError as error:
        raise KeypointsError(f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        reason = ascii(str(error))[1:-1][:120]
        raise KeypointsError(f"is not readable JSON ({reason})") from None


def _people(
    content: Content, canvas: Canvas | None, fps: float | None, threshold: float
) -> Detections:
    frames = content.frames
    if not frames:
        raise KeypointsError("holds no frames")
    common = _common_size(content) or (canvas and (canvas.width, canvas.height))
    if not common:
        raise KeypointsError(
            "fields 'canvas_width' and 'canvas_height' are missing; say how large, in pixels, the "
            "pictures were in which the points were measured"
        )
    owners = [t for t, frame in enumerate(frames) for _ in frame.people]
    everyone = [person for frame in frames for person in frame.people]
    points = np.array([p.points for p in everyone]).reshape(-1, NUM_POINTS, 2)
    scores = np.array([p.scores for p in everyone]).reshape(-1, NUM_POINTS)
    own = [frame.size or content.size or common for frame in frames]
    sizes = np.array([own[t] for t in owners], np.float64).reshape(-1, 2)
    # Frames measured on canvases of different sizes show the same on one.
    points = to_pixels(points, scores, sizes) * (np.array(common) / sizes)[:, None]
    there = (scores > 0).any(1)
    visible = (scores[:, BODY] > threshold).any(1)
    split = np.searchsorted(owners, np.arange(1, len(frames)))
    parts = (np.split(values, split) for values in (points, scores, there, visible))
    return Detections(
        tuple(
            People(p[t].astype(np.float32), s[t].astype(np.float32), int(v.sum()))
            for p, s, t, v in zip(*parts, strict=True)
        ),
        *common,
        _rate(content.fps, fps),
    )


def _common_size(content: Content) -> Size | None:
    return next((frame.size for frame in content.frames if frame.size), None) or content.size


def _rate(own: Any, given: float | None) -> float:
    if own in (None, "", 0):
        return given or FPS
    try:
        rate = float(own) if isinstance(own, int | float | str) else 0.0
    except (ValueError, OverflowError):
        rate = 0.0
    if isinstance(own, bool) or not 0 < rate <= 1000:
        raise KeypointsError(f"field 'fps' must be above 0 and at most 1000, got {ascii(own)[:40]}")
    return rate


def _about_canvas(content: Content, canvas: Canvas | None, people: Detections) -> str:
    """What a user must know about the canvas; empty if there is nothing."""
    own = _common_size(content)
    if own:
        if canvas and not canvas.guessed and (canvas.width, canvas.height) != own:
            return f"its own canvas, {own[0]}x{own[1]}, is used, not {canvas.origin}, {canvas}"
        return ""
    if not (canvas and canvas.guessed):
        return ""
    line = f"{NO_CANVAS}; its points are taken as measured in {canvas.origin} size, {canvas}"
    outside = _share_outside(people)
    if outside > 0.1:
        line += f", outside of which {outside:.0%} of them lie"
    return f"{line}; --poses_size WIDTHxHEIGHT gives another"


def _share_outside(people: Detections) -> float:
    seen = [p.points[p.scores > VISIBLE] for p in people.frames]
    points = np.concatenate(seen) if seen else np.zeros((0, 2))
    if not len(points):
        return 0.0
    return float(((points < 0) | (points > (people.width, people.height))).any(-1).mean())
