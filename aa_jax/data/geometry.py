"""From a clip's own size to that of a training example: centre crops and aspect buckets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from aa_jax.pose.keypoints import Keypoints

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

Size = tuple[int, int]
"""Width and height in pixels."""


def centre_crop(size: Size, wanted: Size) -> Box:
    """The largest box of `wanted`'s aspect ratio in the middle of a picture of `size`."""
    (width, height), (wanted_width, wanted_height) = size, wanted
    scale = min(width / wanted_width, height / wanted_height)
    left = (width - scale * wanted_width) / 2
    top = (height - scale * wanted_height) / 2
    return left, top, width - left, height - top


def crop_picture(picture: UInt8[np.ndarray, "h w 3"], wanted: Size) -> UInt8[np.ndarray, "H W 3"]:
    """The centre crop of a picture at another size (Lanczos, as `pictures.resize`)."""
    from PIL import Image

    size = (picture.shape[1], picture.shape[0])
    if size == wanted:
        return picture
    box = centre_crop(size, wanted)
    cropped = Image.fromarray(picture).resize(wanted, Image.Resampling.LANCZOS, box=box)
    return np.asarray(cropped)


def crop_keypoints(keypoints: Keypoints, wanted: Size) -> Keypoints:
    """Keypoints as they lie in `crop_picture`'s result; some may then lie outside of it."""
    left, top, right, _ = centre_crop((keypoints.width, keypoints.height), wanted)
    scale = np.float32(wanted[0] / (right - left))
    corner = np.array([left, top], np.float32)
    points = {name: (getattr(keypoints, name) - corner) * scale for name in _POINTS}
    return dataclasses.replace(keypoints, width=wanted[0], height=wanted[1], **points)


def shrunk(size: Size, short_side: int) -> Size:
    """The size whose shorter side is at most `short_side`, of the same aspect ratio and even."""
    scale = min(1.0, short_side / min(size))
    if scale == 1.0:
        return size
    width, height = (max(2, 2 * round(side * scale / 2)) for side in size)
    return width, height


def nearest_size(size: Size, sizes: Sequence[Size]) -> int:
    """Index of the bucket whose aspect ratio is nearest; the first of equally near ones."""
    aspect = math.log(size[0] / size[1])
    return min(range(len(sizes)), key=lambda i: abs(math.log(sizes[i][0] / sizes[i][1]) - aspect))


_POINTS = ("body", "hands", "face")
