"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes text under a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.rename(path)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
