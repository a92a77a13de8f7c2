"""Clips of a folder by name, whoever made them: videos, and folders of numbered pictures.

`walk.mp4`, `walk.gif`, `walk/0001.png ...` and `walk/images/0001.png ...` are all the clip `walk`;
`test/walk.mp4` is `test/walk`. Pictures that lie in the folder itself are the clip `.`, if there is
nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from aa_jax.data.preparation import media
from aa_jax.data.preparation.layouts import VIDEO_SUFFIXES, picture_files
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.files import counted, readable
from aa_jax.media import pictures

Frame = UInt8[np.ndarray, "h w 3"]

WHOLE_FOLDER = "."
"""Name of the clip whose pictures lie in the folder itself."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video, or a folder of frames.

    Attributes:
      name: by which it is matched.
      path: where it lies.
    """

    name: str
    path: Path

    def frames(self) -> Iterator[Frame]:
        """Upright RGB frames as they are stored, one at a time, all of one size.

        Raises:
          VideoError, PictureError: one cannot be read, or has another size than the first.
        """
        return media.frames(self.path)

    def measure(self) -> tuple[int, tuple[int, int]]:
        """Number of frames, and their width and height; decodes a video, or one picture."""
        if not self.path.is_dir():
            found = media.scan(self.path)
            return len(found.times), (found.width, found.height)
        files = picture_files(self.path)
        height, width = pictures.read_picture(files[0]).shape[:2]
        return len(files), (width, height)


class Frames(Protocol):
    """What a pair is made of: a `Clip`, or a clip of a dataset."""

    name: str

    def frames(self) -> Iterator[Frame]: ...

    def measure(self) -> tuple[int, tuple[int, int]]: ...


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generated clip and the true one."""

    result: Frames
    target: Frames

    @property
    def name(self) -> str:
        """Of both."""
        return self.target.name


@dataclasses.dataclass(frozen=True)
class Matches:
    """Two folders' clips, matched.

    Attributes:
      pairs: in the order people count.
      results: names that only the results have.
      targets: names that only the targets have.
    """

    pairs: tuple[Pair, ...]
    results: tuple[str, ...]
    targets: tuple[str, ...]


def match(results: Path, targets: Path, true: Mapping[str, Frames] | None = None) -> Matches:
    """Matches two folders by the names of their clips.

    Args:
      results: generated clips.
      targets: true ones.
      true: these, by name, where `targets` is no folder of videos.

    Raises:
      EvaluationError: a folder is missing or empty, a name is ambiguous, or nothing matches.
    """
    ours = find(results, "--results")
    true = find(targets, "--targets") if true is None else true
    names = sorted(ours.keys() & true.keys(), key=counted)
    if not names:
        raise EvaluationError(
            f"no clip of --results {results} ({_some(ours)}) is named like one of --targets "
            f"{targets} ({_some(true)}); names must be equal but for the suffix"
        )
    return Matches(
        pairs=tuple(Pair(ours[name], true[name]) for name in names),
        results=tuple(sorted(ours.keys() - true.keys(), key=counted)),
        targets=tuple(sorted(true.keys() - ours.keys(), key=counted)),
    )


def find(folder: Path, flag: str) -> dict[str, Clip]:
    """The clips of a folder at any depth, by name; hidden entries are passed over.

    Args:
      flag: that named the folder, for messages.

    Raises:
      EvaluationError: there is no such folder or no clip in it, or two have one name.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{flag} {folder}: no such folder")
    found: dict[str, Clip] = {}
    for path in _walk(folder, set()):
        clip = Clip(_name(path, folder), path)
        if other := found.get(clip.name):
            raise EvaluationError(
                f"{flag} {folder}: {other.path.name} and {path.name} are both the clip "
                f"{clip.name}; keep one of them there"
            )
        found[clip.name] = clip
    if len(found) > 1:  # stray pictures beside clips, such as contact sheets, are no clip
        found.pop(WHOLE_FOLDER, None)
    if not found:
        raise EvaluationError(f"{flag} {folder}: holds no video and no folder of pictures")
    return found


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Videos and folders of pictures; links are followed, each real folder once."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    try:
        if picture_files(folder):
            yield folder
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be read ({error.strerror})") from None
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _name(path: Path, folder: Path) -> str:
    relative = path.relative_to(folder)
    if not path.is_dir():
        relative = relative.with_suffix("")
    elif relative.name == "images":  # as the TikTok dataset lays its frames
        relative = relative.parent
    return readable(relative.as_posix())


def _some(clips: Mapping[str, Frames]) -> str:
    names = sorted(clips, key=counted)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
