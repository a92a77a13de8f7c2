"""Pose features of a long video, worked out once where keeping them costs little.

The smaller the networks, the larger the part of a step that drawing and encoding its skeletons
takes, and the smaller their features: those of the bundled weights take 64 KiB a frame and a tenth
of a step, those of Stable Diffusion 1.5 at 512x512 5 MiB and next to no time. They are kept in a
file, so that the memory of a process does not grow with its video.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int, PyTree, UInt8

from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.windows import chunks

KEPT = 2**28
"""Bytes of all frames up to which they are kept."""

Indices = Int[np.ndarray, "..."]


class Skeletons(Protocol):
    """Skeleton pictures uint8 [t, h, w, 3]: an array, or what draws those that are asked for."""

    shape: tuple[int, ...]

    def __getitem__(self, frames: Indices) -> UInt8[np.ndarray, "... h w 3"]: ...


class PoseFeatures:
    """Features [t, hl, wl, d], in a file that vanishes with this object."""

    def __init__(self, frame_shape: tuple[int, ...], dtype: DTypeLike):
        self._frame_shape, self._dtype = frame_shape, np.dtype(dtype)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed with this object
        weakref.finalize(self, self._file.close)

    def append(self, features: Float[np.ndarray, "t hl wl d"]) -> None:
        """Adds the next frames."""
        self._file.write(features.tobytes())

    def __getitem__(self, frames: Indices) -> Float[np.ndarray, "... hl wl d"]:
        frame_bytes = math.prod(self._frame_shape) * self._dtype.itemsize
        read = np.empty((frames.size, frame_bytes), np.uint8)
        for row, frame in zip(read, frames.ravel().tolist(), strict=True):
            self._file.seek(frame * frame_bytes)
            self._file.readinto(row)
        return read.view(self._dtype).reshape(*frames.shape, *self._frame_shape)


def encode_poses(
    pipeline: Pipeline, params: PyTree, skeletons: Skeletons, *, chunk: int
) -> PoseFeatures | Skeletons:
    """Features of all frames' skeletons, drawn and encoded `chunk` frames at a time.

    If they take more than `KEPT` bytes, or the disk has no room, the skeletons: to be encoded in
    every step.
    """
    frames = skeletons.shape[0]
    one = jax.ShapeDtypeStruct((1, 1, *skeletons.shape[1:]), jnp.uint8)
    made = _encode.eval_shape(pipeline, params, one)
    if frames * made.size * made.dtype.itemsize > KEPT:
        return skeletons
    try:
        features = PoseFeatures(made.shape[2:], made.dtype)
        for indices in chunks(np.arange(frames), chunk):
            encoded = _encode(pipeline, params, skeletons[indices][None])[0]
            features.append(np.asarray(encoded)[: frames - indices[0]])
    except OSError:
        return skeletons
    return features


_encode = jax.jit(pipeline_lib.encode_skeletons, static_argnums=0)
