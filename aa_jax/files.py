"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes text under a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.rename(path)
