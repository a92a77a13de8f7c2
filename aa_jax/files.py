"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes text under a temporary name, then renames it."""
    with replacing_file(path) as temporary:
        temporary.write_text(text)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path: Path) -> None:
    """Raises `OSError` unless a file can be made at `path`; makes its folder, nothing else."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except FileExistsError:  # where a folder should be
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Gives a path that takes `path`'s place when the block ends well, and goes otherwise.

    It has `path`'s suffix, from which encoders tell the format, lies in the same folder, which is
    made, and is no other writer's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")


@contextlib.contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Gives a temporary folder that takes `directory`'s place when the block ends well."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if directory.exists():
            old = temporary.with_name(f"{temporary.name}.old")
            directory.rename(old)
            temporary.rename(directory)
            shutil.rmtree(old)
        else:
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def numbered(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder whose names end in one of `suffixes`, in the order people count.

    `frame_10` comes after `frame_9`, whatever the number of digits; large and small letters are
    equal, in names and suffixes; what stands before the suffix decides, so that `walk` comes before
    `walk (2)`. Hidden files, the `._*` that macOS leaves on other file systems among them, and
    folders are passed over. A link into nothing is listed: whoever opens it can name it.

    Args:
      folder: where to look, not below it.
      suffixes: ends of names in small letters, such as `.png` or `_keypoints.json`.

    Raises:
      OSError: the folder cannot be read.
    """
    ends = tuple(sorted(suffixes, key=len, reverse=True))
    found = []
    for path in folder.iterdir():
        name = path.name.casefold()
        end = next((end for end in ends if name.endswith(end)), None)
        if end is not None and not name.startswith(".") and not path.is_dir():
            found.append((_counted(name.removesuffix(end)), path.name, path))
    return [path for *_, path in sorted(found)]


def _counted(text: str) -> list[str | int]:
    """Text and numbers in turn, text first, so that lists of them can be compared."""
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(text))]


_DIGITS = re.compile(r"([0-9]+)")
