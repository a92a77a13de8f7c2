"""One video, or folder of frames, read in full and stored as a dataset holds it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

from aa_jax.config import SkeletonConfig
from aa_jax.data.geometry import Size, centre_crop, shrunk
from aa_jax.data.preparation.layouts import picture_files
from aa_jax.media import pictures, video
from aa_jax.pose import drawing
from aa_jax.pose.keypoints import Keypoints

Picture = UInt8[np.ndarray, "h w 3"]

FOLDER_FPS = 30.0
"""Frame rate of folders of frames, which carry none: that of the TikTok dataset."""

KEYFRAME_EVERY = 8
"""Frames between key frames of stored MP4s: what a random access decodes at most."""

STRIP_SIDE, STRIP_FRAMES = 112, 4
"""Side of a picture of the contact sheet, in pixels, and frames shown of every clip."""
_GREY = 48


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaSettings:
    """How frames are stored.

    Attributes:
      storage: `jpeg`: one record per frame; `mp4`: one per clip, smaller and slower to read.
      short_side: pixels; larger frames are shrunk until their shorter side has as many.
      jpeg_quality: 1 to 100.
    """

    storage: Literal["jpeg", "mp4"] = "jpeg"
    short_side: int = 768
    jpeg_quality: int = 95


def content_hash(path: Path) -> str:
    """A name for the bytes of a video, or of all pictures of a folder."""
    digest = hashlib.sha256()
    for file in picture_files(path) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(f"{file.name}\0".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:24]


def scan(path: Path) -> video.VideoScan:
    """Decodes everything and says what there is; `aa_jax.media.video.scan_video`.

    Raises:
      VideoError, PictureError: it cannot be read from end to end.
    """
    if not path.is_dir():
        return video.scan_video(path)
    sizes = [frame.shape[1::-1] for frame in frames(path)]
    times = np.arange(len(sizes)) / FOLDER_FPS
    return video.VideoScan(*sizes[0], 0, times, FOLDER_FPS, variable=False)


def frames(path: Path) -> Iterator[Picture]:
    """Upright RGB frames, one at a time."""
    if path.is_dir():
        yield from pictures.read_frames(picture_files(path))
    else:
        with video.open_video(path) as opened:
            yield from opened.frames


def store(
    folder: Path,
    source: Iterable[Picture],
    wanted: Int[np.ndarray, " n"],
    keypoints: Keypoints,
    settings: MediaSettings,
) -> None:
    """Writes a clip: `clip.npz` (keypoints), its frames, and `strip.png` for the contact sheet.

    Frames become `frames.bin`, one JPEG after the other, with their ends in `ends.npy`; or
    `clip.mp4`.

    Args:
      folder: exists and is empty.
      source: frames of the video from the first.
      wanted: which of them make the clip, in ascending order; some may repeat.
      keypoints: n frames, measured in the video's own pixels.
    """
    size = shrunk((keypoints.width, keypoints.height), settings.short_side)
    keypoints = keypoints.resized(*size)
    shown = set(np.linspace(0, len(wanted) - 1, STRIP_FRAMES).round().astype(int).tolist())
    strip: list[Picture] = []

    def clip() -> Iterator[Picture]:
        for index, frame in enumerate(_select(source, wanted)):
            frame = pictures.resize(np.ascontiguousarray(frame), *size)
            if index in shown:
                strip.extend(_shown(frame, keypoints[index : index + 1]))
            yield frame

    if settings.storage == "jpeg":
        _write_jpegs(folder, clip(), settings.jpeg_quality)
    else:
        video.write_video(folder / "clip.mp4", clip(), keypoints.fps, keyframe_every=KEYFRAME_EVERY)
    keypoints.save(folder / "clip.npz")
    blank = np.full((STRIP_SIDE, STRIP_SIDE, 3), _GREY, np.uint8)
    strip += [blank] * (2 * STRIP_FRAMES - len(strip))  # of a clip of fewer frames
    pictures.write_picture(folder / "strip.png", np.concatenate(strip, axis=1))


def _select(source: Iterable[Picture], wanted: Int[np.ndarray, " n"]) -> Iterator[Picture]:
    times_wanted = np.bincount(wanted)
    for index, frame in enumerate(source):
        for _ in range(times_wanted[index] if index < len(times_wanted) else 0):
            yield frame


def _write_jpegs(folder: Path, clip: Iterator[Picture], quality: int) -> None:
    from PIL import Image

    ends = []
    with (folder / "frames.bin").open("wb") as file:
        for frame in clip:
            encoded = io.BytesIO()
            # Full colour resolution: thin coloured patterns are what a character is known by.
            Image.fromarray(frame).save(encoded, "JPEG", quality=quality, subsampling=0)
            file.write(encoded.getvalue())
            ends.append(file.tell())
    np.save(folder / "ends.npy", np.array(ends, np.int64))


def read_jpegs(folder: Path) -> Iterator[bytes]:
    """The JPEGs that `store` wrote, in order."""
    start = 0
    with (folder / "frames.bin").open("rb") as file:
        for end in np.load(folder / "ends.npy").tolist():
            yield file.read(end - start)
            start = end


def holds_frames(folder: Path) -> bool:
    """Whether the frames that `store` wrote are still there."""
    return any((folder / name).exists() for name in _FRAMES)


def drop_frames(folder: Path) -> None:
    """Removes the frames that `store` wrote; keypoints and pictures of the report stay."""
    for name in _FRAMES:
        (folder / name).unlink(missing_ok=True)


_FRAMES = ("frames.bin", "clip.mp4")


def _shown(frame: Picture, keypoints: Keypoints) -> tuple[Picture, Picture]:
    """A frame and its skeleton, both fit into a square of the contact sheet."""
    size: Size = (frame.shape[1], frame.shape[0])
    skeleton = drawing.draw_keypoints(keypoints, *size, style=SkeletonConfig(size=256))[0]
    return _letterboxed(frame), _letterboxed(skeleton)


def _letterboxed(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    # The crop of a square to the picture's shape is where the picture goes in the square.
    left, top, right, bottom = centre_crop((STRIP_SIDE, STRIP_SIDE), (width, height))
    left, top = round(left), round(top)
    width, height = max(round(right) - left, 1), max(round(bottom) - top, 1)
    square = np.full((STRIP_SIDE, STRIP_SIDE, 3), _GREY, np.uint8)
    square[top : top + height, left : left + width] = pictures.resize(picture, width, height)
    return square
