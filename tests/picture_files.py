"""Bytes of pictures that Pillow cannot write, and what tests say of those it reads."""

import struct
import zlib

import numpy as np

RAMP = np.arange(256, dtype=np.uint8).reshape(8, 32)
"""Every grey level once."""


def assert_grey(read, expected, atol=0):
    assert read.dtype == np.uint8
    expected = np.stack([expected] * 3, -1).astype(int)
    np.testing.assert_allclose(read.astype(int), expected, atol=atol)


def saved(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def written(tmp_path, data, name="a.png"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rows, width, depth, colour, *chunks):
    """A PNG of packed rows (bytes); colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(
    pixels,
    *,
    bits,
    photometric=1,
    sample_format=1,
    order="<",
    extra=(),
    planar=1,
    raw=None,
    zipped=0,
):
    """A TIFF of one strip per plane.

    Args:
      pixels: [h, w] or [h, w, c].
      raw: its bytes where they are packed otherwise.
    """
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    data = raw or pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    planes = bands if planar == 2 else 1
    strips = [data[i * len(data) // planes :][: len(data) // planes] for i in range(planes)]
    strips = [zlib.compress(strip) if zipped else strip for strip in strips]
    data = b"".join(strips)
    starts = [8 + len(b"".join(strips[:i])) for i in range(planes)]
    entries = {
        256: (4, [pixels.shape[1]]),
        257: (4, [pixels.shape[0]]),
        258: (3, [bits] * bands),
        259: (3, [8 if zipped else 1]),
        262: (3, [photometric]),
        273: (4, starts),
        277: (3, [bands]),
        278: (4, [pixels.shape[0]]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [planar]),
        339: (3, [sample_format] * bands),
    }
    if extra:
        entries[338] = (3, list(extra))
    start = 8 + len(data)
    table, beyond = struct.pack(order + "H", len(entries)), b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        head = struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) > 4:
            table += head + struct.pack(order + "I", behind + len(beyond))
            beyond += packed
        else:
            table += head + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + data + table + bytes(4) + beyond


def matrix_profile(gamma=2.2, primaries=((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))):
    """An ICC profile of a display, Adobe RGB by default, of the few tags that one must have."""
    white = np.array([0.9642, 1.0, 0.8249])
    d65 = np.array([0.9505, 1.0, 1.0890])
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    xyz = xyz * np.linalg.solve(xyz, d65)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    scale = np.diag((bradford @ white) / (bradford @ d65))
    xyz = np.linalg.inv(bradford) @ scale @ bradford @ xyz

    def point(values):
        fixed = [round(v * 65536) for v in values]
        return b"XYZ " + bytes(4) + struct.pack(">3i", *fixed)

    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    name = b"Wide\0"
    text = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(12 + 67)
    parts = {b"desc": text + bytes(-len(text) % 4), b"wtpt": point(white)}
    for letter, column in zip((b"r", b"g", b"b"), xyz.T, strict=True):
        parts[letter + b"XYZ"] = point(column)
        parts[letter + b"TRC"] = curve
    table, body, start = struct.pack(">I", len(parts)), b"", 132 + 12 * len(parts)
    for tag, data in parts.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in white))
    head = head.ljust(128, b"\0")
    profile = head + table + body
    return struct.pack(">I", len(profile)) + profile[4:]
