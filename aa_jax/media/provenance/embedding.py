"""Where an XMP packet lies in a file: put there, and found again.

    MP4, MOV   a `uuid` box, the file's last        (XMP specification, part 3)
    PNG        an `iTXt` chunk, the second          (the same)
    GIF        an application extension, and a comment for readers that know no XMP

Decoders pass over all of them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from aa_jax.media import png

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
BMFF_SUFFIXES = (".mp4", ".mov")

MOST = 2**20
"""Bytes of the largest packet that is read."""

_PNG_KEYWORD = b"XML:com.adobe.xmp"
_GIF_XMP, _GIF_NAMES = b"XMP DataXMP", (b"GIF87a", b"GIF89a")
# Read as sub-blocks, from wherever a decoder is in the packet, this ends at its last byte.
_GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A container's tags without those that FFmpeg makes of its format."""
    formats = ("major_brand", "minor_version", "compatible_brands", "encoder")
    return {name: value for name, value in tags.items() if name.lower() not in formats}


# --- putting ------------------------------------------------------------------------------------


def append_box(path: Path, xmp: bytes) -> None:
    """Ends an MP4 or MOV with a packet."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(xmp), b"uuid") + XMP_BOX + xmp)


def into_png(data: bytes, xmp: bytes) -> bytes:
    """A PNG with a packet behind its header."""
    content = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    end = len(png.SIGNATURE) + 12 + 13  # of the header
    return data[:end] + chunk + data[end:]


def into_gif(data: bytes, xmp: bytes, comment: str) -> bytes:
    """A GIF with a packet and a comment before its first picture."""
    text = comment.encode()
    parts = [text[i : i + 255] for i in range(0, len(text), 255)]
    said = b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    packet = b"!\xff\x0b" + _GIF_XMP + xmp + _GIF_TRAILER
    end = _gif_head(data)
    return b"GIF89a" + data[6:end] + packet + said + data[end:]


# --- finding ------------------------------------------------------------------------------------


def xmp_of(path: Path) -> bytes | None:
    """The XMP packet of an MP4, a MOV or a picture that Pillow reads.

    Raises:
      OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:6] in _GIF_NAMES:
            return _gif_xmp(path.read_bytes())
        if head[4:8] == b"ftyp":
            found = (size for name, size in _boxes(file) if name == XMP_BOX)
            size = next(found, None)
            return None if size is None else file.read(min(size, MOST))
    return _picture_xmp(path)


def holds_c2pa(path: Path) -> bool:
    """Whether an MP4, MOV, PNG or GIF has a place for a C2PA manifest; says nothing of others."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return any(name == C2PA_BOX for name, _ in _boxes(file))
        file.seek(0)
        if head[:6] in _GIF_NAMES:
            return b"!\xff\x0bC2PA_GIF" in file.read()
        return head[:8] == png.SIGNATURE and b"caBX" in file.read()


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Outermost `uuid` boxes: their names and sizes, the file standing at their content."""
    place, end = 0, file.seek(0, 2)
    while place + 8 <= end:
        file.seek(place)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        if size == 0:
            size = end - place
        if size < head:
            return
        if kind == b"uuid" and size >= head + 16:
            name = file.read(16)
            yield name, min(size, end - place) - head - 16
        place += size


def _gif_head(data: bytes) -> int:
    """Where a GIF's blocks begin."""
    return 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)


def _gif_xmp(data: bytes) -> bytes | None:
    start = data.find(b"!\xff\x0b" + _GIF_XMP, _gif_head(data) if len(data) > 13 else 0)
    if start < 0:
        return None
    start += 14
    end = data.find(_GIF_TRAILER[:4], start)
    return data[start : min(end, start + MOST)] if end >= 0 else None


def _picture_xmp(path: Path) -> bytes | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    except Exception:  # no picture, or a broken one, which whoever shows it will say
        return None
    found = found.encode() if isinstance(found, str) else found
    return bytes(found[:MOST]) if found else None
