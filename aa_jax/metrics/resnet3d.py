"""ResNet-50 with convolutions over time (Hara et al. 2018), trained on Kinetics, for FID-VID.

    features = resnet3d.load("resnet-50-kinetics.safetensors")
    features(clips)                     # uint8 [n, t, h, w, 3] -> [n, 2048]

Frames become 112x112, less the mean colour of the training's videos, in numbers from 0 to 255.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from aa_jax.metrics import resizing, weights
from aa_jax.metrics.features import Features
from aa_jax.metrics.layers import Conv, max_pool

SIZE, FRAMES, WIDTH = 112, 16, 2048

MEAN = (114.7748, 107.7354, 99.4750)
"""Red, green and blue, which is taken from every pixel."""

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Channels within the blocks, and how many blocks; each stage but the first halves its clips."""

_ONE, _THREE = (1, 1, 1), (3, 3, 3)
_PADDED = ((1, 1), (1, 1), (1, 1))


class Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1 around which the clip is added, itself or as a projection of it.

    Attributes:
      features: channels of the inner ones; the result has four times as many.
      stride: along time, height and width.
      projected: whether the clip is projected.
    """

    features: int
    stride: int
    projected: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n t h w c"]) -> Float[Array, "n t2 h2 w2 f"]:
        strides, wide = (self.stride,) * 3, 4 * self.features
        y = Conv(self.features, _ONE, name="conv1")(x)
        y = Conv(self.features, _THREE, strides, _PADDED, name="conv2")(y)
        y = Conv(wide, _ONE, relu=False, name="conv3")(y)
        if self.projected:
            x = Conv(wide, _ONE, strides, "VALID", relu=False, name="downsample")(x)
        return nn.relu(y + x)


class ResNet3D(nn.Module):
    """The network without its classes."""

    @nn.compact
    def __call__(self, x: Float[Array, "n t h w 3"]) -> Float[Array, "n 2048"]:
        x = Conv(64, (7, 7, 7), (1, 2, 2), ((3, 3),) * 3, name="conv1")(x)
        x = max_pool(x, _THREE, (2, 2, 2), _PADDED)
        for stage, (features, blocks) in enumerate(STAGES):
            for index in range(blocks):
                stride = 2 if stage and not index else 1
                name = f"layer{stage + 1}_{index}"
                x = Bottleneck(features, stride, not index, name=name)(x)
        return x.mean((1, 2, 3))


def load(path: str | Path | None = None) -> Features:
    """ResNet-50 with the weights of a file, or of the user's cache; see `Features.load`."""
    return Features.load(
        "resnet3d", pooled, expected(), path, width=WIDTH, takes="clips", at_once=2
    )


def pooled(params: weights.Params, clips: Array) -> Array:
    """Features [n, 2048] of clips [n, t, h, w, 3] of 8-bit RGB, each frame bicubic to 112x112."""
    n, frames = clips.shape[:2]
    x = clips.reshape(n * frames, *clips.shape[2:]).astype(jnp.float32)
    x = resizing.resize(x, SIZE, SIZE, "bicubic").reshape(n, frames, SIZE, SIZE, 3)
    return ResNet3D().apply({"params": params}, x - jnp.array(MEAN).reshape(1, 1, 1, 1, 3))


def expected() -> weights.Params:
    """Shapes of the network's parameters."""
    return weights.shapes_of(ResNet3D(), np.zeros((1, FRAMES, SIZE, SIZE, 3), np.float32))
