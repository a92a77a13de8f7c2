"""Inception v3 as it was trained in 2015 (Szegedy et al.), for FID.

    features = inception.load("pt_inception.safetensors")
    features(pictures)                  # uint8 [n, h, w, 3] -> [n, 2048], the last pooling layer's

The graph is that of the weights published with pytorch-fid: average pools leave out what is padded,
and the last block has a maximum where the paper has an average. Pictures become 299x299 between the
nearest pixels, and numbers from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from aa_jax.metrics import resizing, weights
from aa_jax.metrics.features import Features
from aa_jax.metrics.layers import Conv, average_pool, max_pool

SIZE, WIDTH = 299, 2048

Layer = tuple[str, int, tuple[int, int]]
"""Name, channels and kernel of a convolution."""

_ONE, _THREE, _FIVE = (1, 1), (3, 3), (5, 5)
_ROW, _COLUMN = (1, 7), (7, 1)
_SHORT_ROW, _SHORT_COLUMN = (1, 3), (3, 1)


class Block35(nn.Module):
    """Branches over pictures of 35x35.

    Attributes:
      pooled: channels of the branch behind the average.
    """

    pooled: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        branches = [
            _chain(x, ("branch1x1", 64, _ONE)),
            _chain(x, ("branch5x5_1", 48, _ONE), ("branch5x5_2", 64, _FIVE)),
            _chain(
                x,
                ("branch3x3dbl_1", 64, _ONE),
                ("branch3x3dbl_2", 96, _THREE),
                ("branch3x3dbl_3", 96, _THREE),
            ),
            _chain(average_pool(x, 3), ("branch_pool", self.pooled, _ONE)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Shrink17(nn.Module):
    """From 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        double = _chain(x, ("branch3x3dbl_1", 64, _ONE), ("branch3x3dbl_2", 96, _THREE))
        branches = [
            _halved("branch3x3", 384)(x),
            _halved("branch3x3dbl_3", 96)(double),
            max_pool(x, _THREE, (2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Block17(nn.Module):
    """Branches over pictures of 17x17, whose 7x7 convolutions are rows and columns.

    Attributes:
      inner: channels between these.
    """

    inner: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        inner = self.inner
        branches = [
            _chain(x, ("branch1x1", 192, _ONE)),
            _chain(
                x,
                ("branch7x7_1", inner, _ONE),
                ("branch7x7_2", inner, _ROW),
                ("branch7x7_3", 192, _COLUMN),
            ),
            _chain(
                x,
                ("branch7x7dbl_1", inner, _ONE),
                ("branch7x7dbl_2", inner, _COLUMN),
                ("branch7x7dbl_3", inner, _ROW),
                ("branch7x7dbl_4", inner, _COLUMN),
                ("branch7x7dbl_5", 192, _ROW),
            ),
            _chain(average_pool(x, 3), ("branch_pool", 192, _ONE)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Shrink8(nn.Module):
    """From 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        long = _chain(
            x,
            ("branch7x7x3_1", 192, _ONE),
            ("branch7x7x3_2", 192, _ROW),
            ("branch7x7x3_3", 192, _COLUMN),
        )
        branches = [
            _halved("branch3x3_2", 320)(_chain(x, ("branch3x3_1", 192, _ONE))),
            _halved("branch7x7x3_4", 192)(long),
            max_pool(x, _THREE, (2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Block8(nn.Module):
    """Branches over pictures of 8x8, which end in a row and a column side by side.

    Attributes:
      largest: take the largest of nine pixels where the other blocks take the mean.
    """

    largest: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        pooled = max_pool(x, _THREE, (1, 1), "SAME") if self.largest else average_pool(x, 3)
        single = _chain(x, ("branch3x3_1", 384, _ONE))
        double = _chain(x, ("branch3x3dbl_1", 448, _ONE), ("branch3x3dbl_2", 384, _THREE))
        branches = [
            _chain(x, ("branch1x1", 320, _ONE)),
            _chain(single, ("branch3x3_2a", 384, _SHORT_ROW)),
            _chain(single, ("branch3x3_2b", 384, _SHORT_COLUMN)),
            _chain(double, ("branch3x3dbl_3a", 384, _SHORT_ROW)),
            _chain(double, ("branch3x3dbl_3b", 384, _SHORT_COLUMN)),
            _chain(pooled, ("branch_pool", 192, _ONE)),
        ]
        return jnp.concatenate(branches, axis=-1)


def _chain(x: Array, *layers: Layer) -> Array:
    for name, features, size in layers:
        x = Conv(features, size, name=name)(x)
    return x


def _halved(name: str, features: int) -> Conv:
    return Conv(features, _THREE, (2, 2), "VALID", name=name)


class Inception(nn.Module):
    """The network up to its last pooling layer; numbers from -1 to 1."""

    @nn.compact
    def __call__(self, x: Float[Array, "n 299 299 3"]) -> Float[Array, "n 2048"]:
        x = _halved("Conv2d_1a_3x3", 32)(x)
        x = Conv(32, _THREE, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = max_pool(Conv(64, _THREE, name="Conv2d_2b_3x3")(x), _THREE, (2, 2))
        x = Conv(80, _ONE, name="Conv2d_3b_1x1")(x)
        x = Conv(192, _THREE, padding="VALID", name="Conv2d_4a_3x3")(x)
        x = max_pool(x, _THREE, (2, 2))
        for block in _blocks():
            x = block(x)
        return x.mean((1, 2))


def _blocks() -> Sequence[nn.Module]:
    return (
        *(Block35(n, name=f"Mixed_5{s}") for s, n in (("b", 32), ("c", 64), ("d", 64))),
        Shrink17(name="Mixed_6a"),
        *(
            Block17(n, name=f"Mixed_6{s}")
            for s, n in zip("bcde", (128, 160, 160, 192), strict=True)
        ),
        Shrink8(name="Mixed_7a"),
        Block8(largest=False, name="Mixed_7b"),
        Block8(largest=True, name="Mixed_7c"),
    )


def load(path: str | Path | None = None) -> Features:
    """Inception with the weights of a file, or of the user's cache; see `Features.load`."""
    return Features.load(
        "inception", pooled, expected(), path, width=WIDTH, takes="pictures", at_once=8
    )


def pooled(params: weights.Params, pictures: Array) -> Array:
    """Features [n, 2048] of pictures [n, h, w, 3] of 8-bit RGB."""
    x = resizing.resize(pictures.astype(jnp.float32), SIZE, SIZE, "points")
    return Inception().apply({"params": params}, x / 127.5 - 1)


def expected() -> weights.Params:
    """Shapes of the network's parameters."""
    return weights.shapes_of(Inception(), np.zeros((1, SIZE, SIZE, 3), np.float32))
