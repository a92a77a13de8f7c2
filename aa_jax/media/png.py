"""PNG files without their texts, for which Pillow has limits that real files exceed.

Drawing programs write whole workflows, histories and licences beside the pixels; Pillow refuses a
picture for a compressed text, or a colour profile, of more than a megabyte.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTATIONS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts that may say which side of a picture is up."""
_MOST_TEXT, _MOST_PROFILE = 2**18, 2**26  # bytes


def without_texts(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG without its texts and its colour profile, and the profile, if it has one.

    What follows a chunk that ends behind the file's end stays as it is.
    """
    kept, profile, position = [SIGNATURE], None, len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        content = data[position + 8 : end - 4]
        if name == b"iCCP":
            profile = profile or _profile(content)
        elif name not in _TEXTS or _may_tell_orientation(name, content):
            kept.append(data[position:end])
        position = end
    kept.append(data[position:])
    return b"".join(kept), profile


def _may_tell_orientation(name: bytes, content: bytes) -> bool:
    if not content.startswith(_ORIENTATIONS):
        return False
    if name == b"zTXt":
        return _unpacked(content.partition(b"\0")[2][1:], _MOST_TEXT) is not None
    if name == b"iTXt":
        flags, rest = content.partition(b"\0")[2][:2], content.partition(b"\0")[2][2:]
        text = rest.split(b"\0", 2)[-1]
        return flags[:1] != b"\1" or _unpacked(text, _MOST_TEXT) is not None
    return True


def _profile(content: bytes) -> bytes | None:
    return _unpacked(content.partition(b"\0")[2][1:], _MOST_PROFILE)


def _unpacked(data: bytes, most: int) -> bytes | None:
    """Decompressed bytes; None where they are damaged or more than `most`."""
    try:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(data, most)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None
