"""Keypoints of one person over a clip: body, hands and face, with scores, in pixels.

Everything downstream of pose detection (smoothing, retargeting, drawing) works on `Keypoints`.
They are stored as `.npz` or as OpenPose JSON; JSON of other tools is read too:

    keypoints = Keypoints.load("dance.npz")
    first_second = keypoints[:12].resized(width=512, height=768)
    first_second.save("first_second.npz")
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from aa_jax import files
from aa_jax.pose.layout import (
    BODY_JOINTS,
    BODY_LIMBS,
    HAND_BONES,
    NUM_FACE_POINTS,
    NUM_HAND_POINTS,
    POINT_SHAPES,
    KeypointsError,
)
from aa_jax.pose.openpose import write_openpose

__all__ = [
    "BODY_JOINTS",
    "BODY_LIMBS",
    "HAND_BONES",
    "NUM_FACE_POINTS",
    "NUM_HAND_POINTS",
    "Keypoints",
    "KeypointsError",
]


@dataclasses.dataclass(frozen=True, eq=False)
class Keypoints:
    """One person's keypoints over `t` frames; points that were not found have score 0.

    Attributes:
      body: [t, 18, 2] float32, (x, y) in pixels, in the order of `BODY_JOINTS`.
      body_scores: [t, 18] float32, from 0 (absent) to 1.
      width: width, in pixels, of the pictures the points were measured in.
      height: their height.
      fps: frames per second.
      hands: [t, 2, 21, 2], the left hand first; None means absent and becomes zeros.
      hand_scores: [t, 2, 21].
      face: [t, 68, 2] in the usual 68-point order; None means absent and becomes zeros.
      face_scores: [t, 68].
    """

    body: np.ndarray
    body_scores: np.ndarray
    width: int
    height: int
    fps: float
    hands: np.ndarray = None  # type: ignore[assignment]
    hand_scores: np.ndarray = None  # type: ignore[assignment]
    face: np.ndarray = None  # type: ignore[assignment]
    face_scores: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        t = len(np.atleast_1d(self.body))
        for name, tail in POINT_SHAPES.items():
            value = getattr(self, name)
            try:
                array = np.asarray(
                    np.zeros((t, *tail)) if value is None else value, dtype=np.float32
                )
            except (TypeError, ValueError) as error:
                raise KeypointsError(f"field '{name}' must hold numbers ({error})") from None
            if array.shape != (t, *tail):
                wanted = ", ".join(["frames", *map(str, tail)])
                raise KeypointsError(
                    f"field '{name}' must have shape [{wanted}] with {t} frames, "
                    f"got {list(array.shape)}"
                )
            object.__setattr__(self, name, array)
        for points, scores in _PARTS:
            # A point that is not a number is an absent point.
            bad = ~np.isfinite(getattr(self, points)).all(-1) | ~np.isfinite(getattr(self, scores))
            if bad.any():
                object.__setattr__(
                    self, points, np.where(bad[..., None], np.float32(0), getattr(self, points))
                )
                object.__setattr__(
                    self, scores, np.where(bad, np.float32(0), getattr(self, scores))
                )
        for name, kind in (("width", int), ("height", int), ("fps", float)):
            try:
                value = kind(getattr(self, name))
            except (TypeError, ValueError, OverflowError):
                value = 0
            if not 0 < value < float("inf"):
                raise KeypointsError(
                    f"field '{name}' must be a number above 0, got {getattr(self, name)!r}"
                )
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.body)

    def __getitem__(self, frames: slice | np.ndarray | list[int]) -> Keypoints:
        """The frames of a slice, or of a list of indices or a mask; a single index is refused."""
        if isinstance(frames, int | np.integer):
            raise TypeError(f"index Keypoints with a slice or a list, e.g. [{frames}:{frames}+1]")
        frames = frames if isinstance(frames, slice) else np.asarray(frames)
        return dataclasses.replace(self, **{n: getattr(self, n)[frames] for n in POINT_SHAPES})

    def resized(self, width: int, height: int) -> Keypoints:
        """The same keypoints in pictures resized to width x height pixels."""
        scale = np.array([width / self.width, height / self.height], np.float32)
        points = {name: getattr(self, name) * scale for name, _ in _PARTS}
        return dataclasses.replace(self, width=width, height=height, **points)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an `.npz`, an OpenPose `.json`, or a folder of OpenPose files (no suffix).

        A reader never sees half of it. JSON keeps four decimals, and OpenPose's format has no place
        for points of a person whose scores are all 0.

        Raises:
          KeypointsError: the suffix is another one.
        """
        path = pathlib.Path(path)
        if path.suffix in ("", ".json"):
            write_openpose(path, dataclasses.asdict(self))
            return
        if path.suffix != ".npz":
            raise KeypointsError(f"{path}: keypoints are written as .npz, .json or a folder")
        with files.replacing_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **dataclasses.asdict(self))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        track: bool = False,
    ) -> Keypoints:
        """One person's keypoints of an `.npz`, a `.json`, or a folder of one `.json` per frame.

        JSON may be of any kind in docs/poses.md; `aa_jax.pose.reading.read_people` gives everyone.

        Args:
          path: the file or folder.
          width, height: pixels of the pictures the points were measured in; only for JSON that
            does not say so itself (`canvas_width`, `canvas_height`).
          fps: frames per second, for JSON that does not say so itself; 30 if not given.
          track: of several people follow one through the clip; otherwise every frame takes the one
            with the highest mean body score.

        Raises:
          KeypointsError: what is wrong, with the file, in one line.
        """
        from aa_jax.pose import reading  # which makes Keypoints itself
        from aa_jax.pose.canvas import Canvas

        canvas = Canvas(width, height) if width and height else None
        who = "tracked" if track else "best"
        return reading.read_poses(pathlib.Path(path), who=who, canvas=canvas, fps=fps).keypoints


_PARTS = (("body", "body_scores"), ("hands", "hand_scores"), ("face", "face_scores"))
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,  # a .npy under the name of an .npz
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
_REQUIRED = ("body", "body_scores", "width", "height", "fps")


def read_npz(path: pathlib.Path) -> Keypoints:
    """What `Keypoints.save` wrote as `.npz`.

    Raises:
      KeypointsError: in one line, with the file.
    """
    try:
        return Keypoints(**_fields_of(path))
    except KeypointsError as error:
        raise KeypointsError(f"{path}: {error}") from None


def _fields_of(path: pathlib.Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise KeypointsError(f"not a readable .npz, make it again ({reason})") from None
    for name in _REQUIRED:
        if name not in values:
            raise KeypointsError(f"field '{name}' is missing; it has {', '.join(values) or 'none'}")
    names = [field.name for field in dataclasses.fields(Keypoints)]
    return {name: values[name] for name in names if name in values}
