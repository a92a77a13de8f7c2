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
      decouples: the reference is read by an attention beside the cross-attention
        (`CrossAttention`) instead of the self-attention.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32
    single_token_shortcut: bool = True
    decouples: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t s c"],
        context: Float[Array, "b r e"],
        reference: KeysValues | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> tuple[Float[Array, "b t s c"], Float[Array, "b t s c"]]:
        """Returns the new tokens, and the output of norm1: what a ReferenceNet hands over."""
        image = None
        if self.decouples:
            reference, image = None, reference
        normed = LayerNorm(name="norm1")(x)
        x = x + SelfAttention(self.num_heads, dtype=self.dtype, name="attn1")(
            normed, reference, reference_mask
        )
        # Initialisation always takes the plain path, so that the parameters never differ.
        one_key = context.shape[1] == 1 and image is None
        if self.single_token_shortcut and one_key and not self.is_initializing():
            x = x + SingleTokenCrossAttention(x.shape[-1], dtype=self.dtype, name="attn2")(context)
        else:
            x = x + CrossAttention(self.num_heads, dtype=self.dtype, name="attn2")(
                LayerNorm(name="norm2")(x), context, image
            )
        return x + FeedForward(dtype=self.dtype, name="ff")(LayerNorm(name="norm3")(x)), normed


class Concatenation(nn.Module):
    """Tokens and the reference's features, concatenated on channels, and a 1x1 convolution back.

    The convolution of a concatenation is the sum of two products. That of the features is the same
    for all frames and timesteps, so `aa_jax.models.reference_features` computes it once per clip or
    video. Starts as the identity on the tokens. A sample without reference has features of zero.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        products: Float[Array, "r s c"] | None,
        mask: Bool[Array, " r"] | None = None,
    ) -> Float[Array, "b t h w c"]:
        """Joins.

        Args:
          x: tokens of each frame.
          products: those of the features of r ≤ b samples, which the last r samples read.
          mask: False where a sample must not see its reference.
        """
        height, channels = x.shape[2], x.shape[-1]
        kernel = self.param("kernel", _identity, (1, 1, 2 * channels, channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        y = x @ kernel[0, 0, :channels].astype(self.dtype) + bias.astype(self.dtype).reshape(
            1, 1, 1, 1, channels
        )
        if products is None:
            return y
        products = rearrange(products.astype(y.dtype), "r (h w) c -> r 1 h w c", h=height)
        if mask is not None:
            products = jnp.where(mask.reshape(-1, 1, 1, 1, 1), products, 0)
        plain = y.shape[0] - products.shape[0]
        joined = y[plain:] + products
        return jnp.concatenate([y[:plain], joined]) if plain else joined


def _identity(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """A kernel [1, 1, 2c, c] that passes the first c channels on."""
    del key
    return jnp.eye(shape[2], shape[3], dtype=dtype).reshape(shape)


class Transformer2D(nn.Module):
    """GroupNorm and 1x1 convolutions around one transformer block over the tokens of each frame.

    Attributes:
      concatenates: the reference's features are concatenated to the tokens on channels
        (`Concatenation`) instead of being keys and values of the block's self-attention.
      decouples: see `BasicTransformerBlock`.
    """

    num_heads: int
    num_groups: int
    dtype: DTypeLike = jnp.float32
    single_token_shortcut: bool = True
    concatenates: bool = False
    decouples: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        context: Float[Array, "b r e"],
        reference: KeysValues | Float[Array, "r s c"] | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> tuple[Float[Array, "b t h w c"], Float[Array, "b t s c"]]:
        """Returns the new clip, and the output of the block's norm1.

        Args:
          x: a clip.
          context: see `CrossAttention`.
          reference: see `SelfAttention`; where this block concatenates, see `Concatenation`.
          reference_mask: see there too.
        """
        height, channels = x.shape[2], x.shape[-1]
        y = GroupNorm(self.num_groups, 1e-6, name="norm")(x)
        y = Conv1x1(channels, dtype=self.dtype, name="proj_in")(y)
        if self.concatenates:
            joined = Concatenation(dtype=self.dtype, name="reference_fusion")
            y = joined(y, reference, reference_mask)
            reference = reference_mask = None
        y, normed = BasicTransformerBlock(
            self.num_heads,
            dtype=self.dtype,
            single_token_shortcut=self.single_token_shortcut,
            decouples=self.decouples,
            name="transformer_blocks_0",
        )(rearrange(y, "b t h w c -> b t (h w) c"), context, reference, reference_mask)
        y = rearrange(y, "b t (h w) c -> b t h w c", h=height)
        return x + Conv1x1(channels, dtype=self.dtype, name="proj_out")(y), normed
