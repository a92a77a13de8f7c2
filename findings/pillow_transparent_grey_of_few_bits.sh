#!/usr/bin/env bash
# Pillow 13.0.0: the transparent grey of a PNG of 2 or 4 bits is opaque.
#
# A grey PNG may name one grey that is transparent, in the file's own bits (chunk tRNS). Pillow makes
# greys of 2 and 4 bits 8-bit ones, 2 of 0..3 becomes 170, but leaves the key as it is and looks for
# pixels of 2. There are none, so `convert("RGBA")` gives an opaque picture, in which the colour that
# was to be hidden shows. Of 1 and 8 bits the key is right. There is no error and no warning; the
# key times 85 (2 bits) or 17 (4 bits) is what `info["transparency"]` should have been.
#
# Output: 1 bit: key 255, the pixel of that grey is 255, its alpha 0
#         2 bits: key 2, the pixel of that grey is 170, its alpha 255
#         4 bits: key 9, the pixel of that grey is 153, its alpha 255
#         8 bits: key 9, the pixel of that grey is 9, its alpha 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import io
import struct
import zlib

from PIL import Image


def chunk(name, content):
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def written(bits, grey):
    """A row of eight pixels, of which the first has the transparent grey and the others are 0."""
    row = bytes([grey << (8 - bits)]).ljust(bits, b"\0")
    head = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    parts = {
        b"IHDR": head,
        b"tRNS": struct.pack(">H", grey),
        b"IDAT": zlib.compress(b"\0" + row),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


for bits, grey, alpha in ((1, 1, 0), (2, 2, 255), (4, 9, 255), (8, 9, 0)):
    image = Image.open(io.BytesIO(written(bits, grey)))
    key, shown = image.info["transparency"], image.convert("RGBA").getpixel((0, 0))
    unit = "bit" if bits == 1 else "bits"
    print(f"{bits} {unit}: key {key}, the pixel of that grey is {shown[0]}, its alpha {shown[3]}")
    assert shown[3] == alpha, f"the transparent grey of {bits} bits has changed"
PYTHON
