"""Convolutional blocks of the UNets, as in diffusers (`ResnetBlock2D` and its neighbours).

All take clips [b t h w c] and convolve frame by frame.
"""

import jax.numpy as jnp
from einops import rearrange, repeat
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.kernels import sharding
from aa_jax.kernels.convolution import Conv1x1, conv3x3
from aa_jax.models.normalization import GroupNorm


class ResnetBlock(nn.Module):
    """Two normed convolutions around the time embedding, plus a (projected) skip connection."""

    features: int
    num_groups: int
    norm_over_frames: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], time_embedding: Float[Array, "b e"]
    ) -> Float[Array, "b t h w f"]:
        y = GroupNorm(self.num_groups, 1e-5, self.norm_over_frames, name="norm1")(x)
        y = conv3x3(self.features, dtype=self.dtype, name="conv1")(nn.silu(y))
        y = checkpoint_name(y, "conv")
        shift = nn.Dense(self.features, dtype=self.dtype, name="time_emb_proj")(
            nn.silu(time_embedding)
        )
        shift = sharding.constrain(shift, "batch", "channels")
        y = y + rearrange(shift, "b c -> b 1 1 1 c")
        y = GroupNorm(self.num_groups, 1e-5, self.norm_over_frames, name="norm2")(y)
        y = conv3x3(self.features, dtype=self.dtype, name="conv2")(nn.silu(y))
        y = checkpoint_name(y, "conv")
        if x.shape[-1] != self.features:
            x = Conv1x1(self.features, dtype=self.dtype, name="conv_shortcut")(x)
        return x + y


class Downsample(nn.Module):
    """Halves height and width, odd sizes rounding up."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 c"]:
        return conv3x3(x.shape[-1], strides=2, dtype=self.dtype, name="conv")(x)


class Upsample(nn.Module):
    """Doubles height and width by repetition, then convolves.

    `size` (height, width) cuts the doubled picture: a level of odd size was rounded up on the way
    down. (PyTorch resizes to that size by nearest neighbours, which picks the same pixels.)
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], size: tuple[int, int] | None = None
    ) -> Float[Array, "b t h2 w2 c"]:
        features = x.shape[-1]
        x = repeat(x, "b t h w c -> b t (h 2) (w 2) c")
        if size is not None:
            x = x[:, :, : size[0], : size[1]]
        return conv3x3(features, dtype=self.dtype, name="conv")(x)
