"""What a protocol says, done: which frames, of what size, in which clips, and their metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from aa_jax.metrics import batches, image
from aa_jax.metrics.errors import MetricError
from aa_jax.metrics.protocols import Protocol

Clip = UInt8[np.ndarray, "t h w 3"]


def prepared(protocol: Protocol, frames: Clip, *, like: Clip | None = None) -> Clip:
    """The frames that count, cropped and brought to the protocol's size.

    Args:
      protocol: which frames and what size.
      frames: a whole video.
      like: the prepared target of a result, whose size and number of frames it must have.

    Raises:
      MetricError: too few frames, or a size or number of frames that the protocol refuses.
    """
    batches.check_pictures("frames", frames)
    end = None if protocol.frames is None else protocol.first + protocol.frames
    if len(frames) < (end or protocol.first + 1):
        raise MetricError(
            f"{len(frames)} frames, where protocol {protocol.name} takes frames {protocol.first} "
            f"to {(end or protocol.first + 1) - 1}"
        )
    frames = frames[protocol.first : end]
    if protocol.crop == "centre_square":
        frames = _centre_square(frames)
    if protocol.size is not None:
        frames = _resized(frames, protocol.size, protocol.resampling)
    if like is not None:
        if len(frames) != len(like):
            raise MetricError(f"{len(frames)} frames, where the target has {len(like)}")
        frames = _like(protocol, frames, like)
    return frames


def frame_metrics(
    protocol: Protocol, targets: Clip, results: Clip
) -> dict[str, Float[np.ndarray, " t"]]:
    """`psnr`, `psnr_disco_uint8`, `ssim` and `l1` of every frame of prepared clips, in float64.

    Raises:
      MetricError: the clips are no 8-bit RGB of one size, or too small for SSIM's window.
    """
    batches.check_pairs(targets, results)
    side = {"uniform_7": 7, "gaussian_11": 11}[protocol.ssim_window]
    height, width = targets.shape[1:3]
    if min(height, width) < side:
        raise MetricError(f"SSIM needs {side} pixels a side; these frames are {width}x{height}")
    pairs = list(zip(targets, results, strict=True))
    # DisCo divides the mean of 0..255 by the number of pixels once more.
    scale = 255 / (height * width) if protocol.l1 == "disco" else 1.0
    values = {
        "psnr": [image.psnr(a, b) for a, b in pairs],
        "psnr_disco_uint8": [image.psnr_disco_uint8(a, b) for a, b in pairs],
        "ssim": [
            image.ssim(a, b, colour=protocol.colour, window=protocol.ssim_window) for a, b in pairs
        ],
        "l1": [image.l1(a, b) * scale for a, b in pairs],
    }
    return {name: np.array(numbers) for name, numbers in values.items()}


def clip_starts(protocol: Protocol, frames: int) -> list[int]:
    """First frames of a prepared video's clips; none where it is shorter than one clip."""
    span = (protocol.clip_length - 1) * protocol.clip_stride + 1
    return list(range(0, frames - span + 1, protocol.clip_step))


def clips(protocol: Protocol, frames: Clip) -> Iterator[Clip]:
    """The clips of a prepared video, views of it, one after the other."""
    for start in clip_starts(protocol, len(frames)):
        window = frames[start :: protocol.clip_stride]
        yield window[: protocol.clip_length]


def _centre_square(frames: Clip) -> Clip:
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


def _resized(frames: Clip, size: tuple[int, int], resampling: str) -> Clip:
    from PIL import Image

    if frames.shape[1:3] == size[::-1]:
        return frames
    filter = Image.Resampling[resampling.upper()]
    return np.stack([np.asarray(Image.fromarray(x).resize(size, filter)) for x in frames])


def _like(protocol: Protocol, frames: Clip, like: Clip) -> Clip:
    """Of the target's size; between the nearest pixels, as OpenCV's default."""
    import cv2

    height, width = like.shape[1:3]
    if frames.shape[1:3] == (height, width):
        return frames
    if protocol.unequal == "refuse":
        raise MetricError(
            f"{frames.shape[2]}x{frames.shape[1]} pixels, where the target has {width}x{height} "
            f"and protocol {protocol.name} changes no sizes"
        )
    return np.stack([cv2.resize(x, (width, height)) for x in frames])
