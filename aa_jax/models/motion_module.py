"""AnimateDiff's motion module: self-attention over the frames at every position of the latent.

Follows AnimateDiff and MooreThreads/Moore-AnimateAnyone. diffusers' own motion module pools its
GroupNorm over frames and gives other results.
"""

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.config import MotionModuleConfig
from aa_jax.kernels import sharding
from aa_jax.models.attention import FeedForward, SelfAttention
from aa_jax.models.normalization import GroupNorm, LayerNorm


def position_table(positions: int, channels: int) -> Float[np.ndarray, "t c"]:
    """Sinusoidal position encoding: sine on even channels, cosine on odd ones."""
    frequencies = 10_000.0 ** (-np.arange(0, channels, 2) / channels)
    angles = np.arange(positions)[:, None] * frequencies[None]
    return rearrange(np.stack([np.sin(angles), np.cos(angles)]), "k t c -> t (c k)").astype("f4")


class TemporalTransformerBlock(nn.Module):
    """Self-attentions over time, then a feed-forward network, each normed and residual."""

    config: MotionModuleConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s t c"]) -> Float[Array, "b s t c"]:
        frames, channels = x.shape[2:]
        positions = jnp.asarray(position_table(frames, channels), self.dtype)[None, None]
        for i in range(self.config.num_attention_layers):
            y = LayerNorm(name=f"norms_{i}")(x) + positions
            x = x + SelfAttention(
                self.config.num_attention_heads, dtype=self.dtype, name=f"attention_blocks_{i}"
            )(y)
        return x + FeedForward(dtype=self.dtype, name="ff")(LayerNorm(name="ff_norm")(x))


class TemporalTransformer(nn.Module):
    """Norm and projections around the temporal blocks.

    The output projection starts at zero, so that a fresh module changes nothing.
    """

    config: MotionModuleConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        height, channels = x.shape[2], x.shape[-1]
        y = GroupNorm(self.config.norm_num_groups, 1e-6, name="norm")(x)
        y = rearrange(y, "b t h w c -> b t (h w) c")
        y = rearrange(sharding.frames_to_space(y), "b t s c -> b s t c")
        y = nn.Dense(channels, dtype=self.dtype, name="proj_in")(y)
        for i in range(self.config.num_transformer_blocks):
            y = TemporalTransformerBlock(
                self.config, dtype=self.dtype, name=f"transformer_blocks_{i}"
            )(y)
        y = nn.Dense(
            channels, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="proj_out"
        )(y)
        y = sharding.space_to_frames(rearrange(y, "b s t c -> b t s c"), x.shape[2] * x.shape[3])
        return x + rearrange(y, "b t (h w) c -> b t h w c", h=height)


class MotionModule(nn.Module):
    """A temporal transformer, residual, for clips of at most `config.max_positions` frames."""

    config: MotionModuleConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        frames = x.shape[1]
        if frames > self.config.max_positions:
            raise ValueError(
                f"a clip of {frames} frames exceeds the motion module's "
                f"{self.config.max_positions} positions; use windows of at most that length"
            )
        return TemporalTransformer(self.config, dtype=self.dtype, name="temporal_transformer")(x)
