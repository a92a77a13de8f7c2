"""Spatial transformer: reference attention, image cross-attention, feed-forward.

Follows diffusers' `Transformer2DModel` and `BasicTransformerBlock`; the reference attention is
that of Animate Anyone.
"""

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from aa_jax.kernels.convolution import Conv1x1
from aa_jax.models.attention import (
    CrossAttention,
    FeedForward,
    KeysValues,
    SelfAttention,
    SingleTokenCrossAttention,
)
from aa_jax.models.normalization import GroupNorm, LayerNorm


class BasicTransformerBlock(nn.Module):
    """Self- or reference attention, cross-attention, feed-forward, each normed and residual.

    Attributes:
      single_token_shortcut: skip the queries and keys of cross-attention when the context is one
        token, whose softmax is constant; exact. False computes them all the same.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32
    single_token_shortcut: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t s c"],
        context: Float[Array, "b r e"],
        reference: KeysValues | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> tuple[Float[Array, "b t s c"], Float[Array, "b t s c"]]:
        """Returns the new tokens, and the output of norm1: what a ReferenceNet hands over."""
        normed = LayerNorm(name="norm1")(x)
        x = x + SelfAttention(self.num_heads, dtype=self.dtype, name="attn1")(
            normed, reference, reference_mask
        )
        # Initialisation always takes the plain path, so that the parameters never differ.
        if self.single_token_shortcut and context.shape[1] == 1 and not self.is_initializing():
            x = x + SingleTokenCrossAttention(x.shape[-1], dtype=self.dtype, name="attn2")(context)
        else:
            x = x + CrossAttention(self.num_heads, dtype=self.dtype, name="attn2")(
                LayerNorm(name="norm2")(x), context
            )
        return x + FeedForward(dtype=self.dtype, name="ff")(LayerNorm(name="norm3")(x)), normed


class Transformer2D(nn.Module):
    """GroupNorm and 1x1 convolutions around one transformer block over the tokens of each frame."""

    num_heads: int
    num_groups: int
    dtype: DTypeLike = jnp.float32
    single_token_shortcut: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        context: Float[Array, "b r e"],
        reference: KeysValues | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> tuple[Float[Array, "b t h w c"], Float[Array, "b t s c"]]:
        """Returns the new clip, and the output of the block's norm1."""
        height, channels = x.shape[2], x.shape[-1]
        y = GroupNorm(self.num_groups, 1e-6, name="norm")(x)
        y = Conv1x1(channels, dtype=self.dtype, name="proj_in")(y)
        y, normed = BasicTransformerBlock(
            self.num_heads,
            dtype=self.dtype,
            single_token_shortcut=self.single_token_shortcut,
            name="transformer_blocks_0",
        )(rearrange(y, "b t h w c -> b t (h w) c"), context, reference, reference_mask)
        y = rearrange(y, "b t (h w) c -> b t h w c", h=height)
        return x + Conv1x1(channels, dtype=self.dtype, name="proj_out")(y), normed
