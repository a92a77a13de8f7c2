"""I3D: Inception with convolutions over time (Carreira and Zisserman 2017), for FVD.

    features = i3d.load()
    features(clips)                     # uint8 [n, t, h, w, 3] -> [n, 400] logits of Kinetics-400

Frames become 224x224 and numbers from -1 to 1; logits are means over what time is left. Padding is
TensorFlow's, of which there may be more at the end.
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

SIZE = 224
"""Pixels along a side of the network's frames."""

CLASSES = 400

FEWEST_FRAMES = 9
"""Of a clip; of fewer, fewer than the two are left that are averaged in the end."""

MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of every block: branch 0; branches 1 and 2 before and after 3x3x3; branch 3."""

POOLED_AFTER = {"Mixed_3c": (3, 3, 3), "Mixed_4f": (2, 2, 2)}
"""Windows of what halves time and space after a block."""


class Mixed(nn.Module):
    """An Inception block: four branches over the same clip, side by side in channels.

    Attributes:
      channels: as in `MIXED`.
    """

    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "n t h w c"]) -> Float[Array, "n t h w f"]:
        one, three = (1, 1, 1), (3, 3, 3)
        a, b_in, b, c_in, c, d = self.channels
        branches = [_Branch(((a, one),), ("0a",), name="Branch_0")(x)]
        for index, widths in ((1, ((b_in, one), (b, three))), (2, ((c_in, one), (c, three)))):
            branches.append(_Branch(widths, ("0a", "0b"), name=f"Branch_{index}")(x))
        pooled = max_pool(x, three, one, "SAME")
        branches.append(_Branch(((d, one),), ("0b",), name="Branch_3")(pooled))
        return jnp.concatenate(branches, axis=-1)


class _Branch(nn.Module):
    layers: tuple[tuple[int, tuple[int, int, int]], ...]
    labels: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for (features, size), label in zip(self.layers, self.labels, strict=True):
            side = size[0]
            x = Conv(features, size, name=f"Conv3d_{label}_{side}x{side}")(x)
        return x


class I3D(nn.Module):
    """The network; frames of 224x224 with numbers from -1 to 1."""

    @nn.compact
    def __call__(self, x: Float[Array, "n t h w 3"]) -> Float[Array, "n 400"]:
        x = Conv(64, (7, 7, 7), (2, 2, 2), name="Conv3d_1a_7x7")(x)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
        x = Conv(64, (1, 1, 1), name="Conv3d_2b_1x1")(x)
        x = Conv(192, (3, 3, 3), name="Conv3d_2c_3x3")(x)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
        for name, channels in MIXED.items():
            x = Mixed(channels, name=name)(x)
            if name in POOLED_AFTER:
                x = max_pool(x, POOLED_AFTER[name], (2, 2, 2), "SAME")
        # The mean of all windows of two frames; a linear layer may come after means.
        x = ((x[:, :-1] + x[:, 1:]) / 2).mean((1, 2, 3), keepdims=True)
        return _Logits(name="Logits")(x)[:, 0, 0, 0]


class _Logits(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        return Conv(CLASSES, (1, 1, 1), relu=False, name="Conv3d_0c_1x1")(x)


def load(path: str | Path | None = None) -> Features:
    """I3D with the weights of a file, or of the first place that has some; see `Features.load`."""
    return Features.load(
        "i3d", logits, expected(), path,
        width=CLASSES, takes="clips", at_once=1, fewest_frames=FEWEST_FRAMES,
    )  # fmt: skip


def logits(params: weights.Params, clips: Array) -> Array:
    """Logits of clips [n, t, h, w, 3] of 8-bit RGB, each frame bicubic straight to 224x224."""
    n, frames = clips.shape[:2]
    x = clips.reshape(n * frames, *clips.shape[2:]).astype(jnp.float32)
    if x.shape[1:3] != (SIZE, SIZE):
        x = resizing.resize(x, SIZE, SIZE, "bicubic")
    x = x.reshape(n, frames, SIZE, SIZE, 3) / 127.5 - 1
    return I3D().apply({"params": params}, x)


def expected() -> weights.Params:
    """Shapes of the network's parameters."""
    return weights.shapes_of(I3D(), np.zeros((1, FEWEST_FRAMES, SIZE, SIZE, 3), np.float32))
