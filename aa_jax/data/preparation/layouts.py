"""Which videos lie in a folder, and to which split each belongs.

A layout is a public dataset's way of laying out its files: `folder` (any videos, any depth),
`ubc_fashion` and `ted_talks` (folders `train` and `test`), `tiktok` (folders of frames).
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from aa_jax.files import numbered, readable
from aa_jax.media.pictures import SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".m2v", ".vob"}
    | {".wmv", ".asf", ".flv", ".f4v", ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".ogg"}
    | {".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".y4m", ".mxf", ".apng"}
)

TIKTOK_TEST = tuple(f"{number:05d}" for number in range(335, 340))
"""The ten-second dances that papers since DisCo hold out."""


class PrepareError(ValueError):
    """A dataset cannot be prepared; the message names the file or flag and the fix."""


@dataclasses.dataclass(frozen=True, order=True)
class Source:
    """One video to prepare.

    Attributes:
      split: `train` or `test`.
      name: path below the folder of videos, with `/` between its parts.
      path: a video file, or a folder of frames.
    """

    split: str
    name: str
    path: Path

    @property
    def label(self) -> str:
        """The name as text that can be printed and stored: names the clip."""
        return readable(self.name)

    @property
    def stem(self) -> str:
        """The name without the suffix of a video: where its keypoints are looked for."""
        suffix = Path(self.name).suffix
        return self.name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else self.name


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a folder holds: sources by split and name, and what was passed over, with the cause."""

    sources: tuple[Source, ...]
    others: tuple[tuple[str, str], ...]


def find_sources(
    layout: str,
    videos: Path,
    *,
    held_out: float = 0.0,
    test_names: Collection[str] = (),
    exclude: Collection[Path] = (),
) -> Finding:
    """Finds the videos of a folder.

    Args:
      layout: a name of `LAYOUTS`.
      held_out: share of `folder`'s videos that become the split `test`, chosen by their names.
      test_names: folders of `tiktok` that become the split `test`; empty: 335 to 339.
      exclude: folders below `videos` that hold something else, e.g. the output.

    Raises:
      PrepareError: the folder is missing, or not of that layout, or holds no video.
    """
    if not videos.is_dir():
        raise PrepareError(f"--videos {videos}: no such folder")
    find = LAYOUTS[layout]
    sources, others = find(videos, held_out, frozenset(test_names), list(exclude))
    if not sources:
        raise PrepareError(f"--videos {videos}: holds no videos of the layout {layout}")
    named = sorted((readable(name), cause) for name, cause in others)
    return Finding(tuple(sorted(sources)), tuple(named))


Found = tuple[list[Source], list[tuple[str, str]]]


def _folder(videos: Path, held_out: float, _: frozenset[str], exclude: list[Path]) -> Found:
    files, others = _walk(videos, exclude)
    sources = []
    for path in files:
        name = path.relative_to(videos).as_posix()
        split = "test" if zlib.crc32(os.fsencode(name)) < held_out * 2**32 else "train"
        sources.append(Source(split, name, path))
    return sources, others


def _train_and_test(videos: Path, _: float, __: frozenset[str], exclude: list[Path]) -> Found:
    missing = [split for split in ("train", "test") if not (videos / split).is_dir()]
    if missing:
        raise PrepareError(
            f"--videos {videos}: has no folder {' and no folder '.join(missing)}; "
            "this layout has the folders train and test"
        )
    sources, others = [], []
    for split in ("train", "test"):
        files, passed = _walk(videos / split, exclude)
        sources += [Source(split, p.relative_to(videos).as_posix(), p) for p in files]
        others += [(f"{split}/{name}", cause) for name, cause in passed]
    return sources, others


def _frame_folders(
    videos: Path, _: float, test_names: frozenset[str], exclude: list[Path]
) -> Found:
    """`NAME/images/*.png`, or pictures in `NAME` itself; masks and UV maps beside them are left."""
    test_names = test_names or frozenset(TIKTOK_TEST)
    sources, others = [], []
    for folder in sorted(videos.iterdir()):
        if folder in exclude or folder.name.startswith("."):
            continue
        frames = folder / "images" if (folder / "images").is_dir() else folder
        if frames.is_dir() and picture_files(frames):
            split = "test" if folder.name in test_names else "train"
            sources.append(Source(split, folder.name, frames))
        else:
            others.append((folder.name, "no folder of pictures"))
    return sources, others


LAYOUTS: dict[str, Callable[[Path, float, frozenset[str], list[Path]], Found]] = {
    "folder": _folder,
    "ubc_fashion": _train_and_test,
    "tiktok": _frame_folders,
    "ted_talks": _train_and_test,
}


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames, in the order people count."""
    return numbered(folder, SUFFIXES)


def _walk(root: Path, exclude: list[Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Video files below a folder, and what else lies there with the reason to pass it over.

    Symbolic links are followed, each real folder once. Keypoints may lie beside their videos: the
    root itself is never excluded.
    """
    excluded = {path.resolve() for path in exclude} - {root.resolve()}
    files, others, seen = [], [], set()

    def visit(folder: Path) -> None:
        relative = folder.relative_to(root).as_posix()
        real = folder.resolve()
        if real in excluded:
            return
        if real in seen:
            others.append((relative, "a link to a folder that is already read"))
            return
        seen.add(real)
        for path, cause in _entries(folder):
            name = path.relative_to(root).as_posix()
            if cause:
                others.append((name, cause))
            elif path.name.startswith("."):
                if path.resolve() not in excluded:
                    others.append((name, f"a hidden {'folder' if path.is_dir() else 'file'}"))
            elif path.is_dir():
                visit(path)
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                files.append(path)
            else:
                others.append((name, f"no video by its name (suffix {path.suffix or 'missing'})"))

    visit(root)
    return files, others


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder's entries in order, each with the reason not to look at it, or an empty one."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield folder, f"cannot be read ({error.strerror})"
        return
    for name in names:
        path = folder / name
        try:
            path.stat()
        except OSError as error:  # a link into nothing or into itself
            yield path, f"cannot be read ({error.strerror})"
        else:
            yield path, ""
