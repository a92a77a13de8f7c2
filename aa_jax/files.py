"""Files that are whole or not there, and folders of numbered ones."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def readable(name: str | Path) -> str:
    r"""A name in one line of text: bytes that are no UTF-8, and line ends, as `\\xe9`.

    What stands for such bytes in Python can neither be printed nor stored.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8 under a temporary name, then renames it."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes named arrays as safetensors under a temporary name, then renames it.

    The library (0.8.0) takes the bytes of a transposed, strided or Fortran-ordered array as they
    lie, under the right shape; so all are laid out row by row first.
    """
    import numpy as np
    from safetensors.numpy import save_file

    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing_file(path) as temporary:
        save_file(rows, temporary)
        temporary.chmod(0o644)  # safetensors lets the owner alone read


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
    # A name that fits must not grow too long.
    stem = os.fsencode(path.stem)[:100].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")


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
            found.append((counted(name.removesuffix(end)), path.name, path))
    return [path for *_, path in sorted(found)]


def counted(name: str) -> list[tuple[int, str]]:
    """A key by which names are sorted as people count; large and small letters are equal.

    Text and numbers in turn, text first; of two numbers the one of more digits is larger, however
    many these are.
    """
    parts = enumerate(_DIGITS.split(name.casefold()))
    numbers = ((index % 2, part.lstrip("0") if index % 2 else part) for index, part in parts)
    return [(len(part) if is_number else 0, part) for is_number, part in numbers]


_DIGITS = re.compile(r"([0-9]+)")
