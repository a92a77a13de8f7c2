"""Whether a file of moving pictures ends where it says it does.

A file cut off between two frames decodes without complaint. Its own structure tells what it should
have held; durations do not, since a last frame may be held for as long as one likes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import av

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def is_cut_off(path: Path, stream: av.VideoStream) -> bool:
    """Whether a decoded file lacks its end; False where its format cannot tell."""
    size = path.stat().st_size
    # An index (MP4) names the places of frames beyond the end.
    if max((entry.pos + entry.size for entry in stream.index_entries), default=0) > size:
        return True
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == _EBML:
            return _matroska_end(file) > size
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return 8 + int.from_bytes(head[4:8], "little") > size
        if head[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx"):
            return _cut_box(file, size)
    return False


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment says it ends; 0 where it does not, as in a live recording."""
    file.seek(0)
    for wanted in (_EBML, _SEGMENT):
        if file.read(4) != wanted:
            return 0
        length = _variable_length(file)
        if length is None:
            return 0
        if wanted == _EBML:
            file.seek(length, 1)
    return file.tell() + length


def _variable_length(file: BinaryIO) -> int | None:
    """An EBML size; None for the one that stands for an unknown size."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _cut_box(file: BinaryIO, size: int) -> bool:
    """Whether a box that describes frames, `moov` or a fragment's `moof`, is cut off."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: up to the end of the file
            return False
        if place + length > size and head[4:8] in (b"moov", b"moof"):
            return True
        place += length
    return False
