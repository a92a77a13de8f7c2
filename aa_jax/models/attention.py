"""Attention and the feed-forward network of transformer blocks.

Weights and arithmetic follow diffusers' `Attention` and `FeedForward` (GEGLU); the reference
attention follows Animate Anyone as MooreThreads/Moore-AnimateAnyone implements it.
"""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange, repeat
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from aa_jax.kernels import sharding
from aa_jax.kernels.attention import attention
from aa_jax.kernels.tokens import some_at_once

KeysValues = tuple[Float[Array, "b s c"], Float[Array, "b s c"]]
"""Projected keys and values of a reference picture's tokens, heads still merged."""


class SelfAttention(nn.Module):
    """Self-attention of g sequences per sample, all of which may also see one reference.

    In space the sequences are the frames and s runs over their tokens (h w); in time they are the
    positions (h w) and s runs over the frames.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b g s c"],
        reference: KeysValues | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> Float[Array, "b g s c"]:
        """Attends.

        Args:
          x: normed tokens.
          reference: keys and values of r ≤ b samples, which the last r samples of the batch
            read; the first b - r do plain self-attention.
          reference_mask: False where a sample must not see its reference.
        """
        channels = x.shape[-1]
        q, k, v = (
            nn.Dense(channels, use_bias=False, dtype=self.dtype, name=name)(x)
            for name in ("to_q", "to_k", "to_v")
        )
        if reference is None:
            out = self._attend(q, k, v)
        else:
            plain = x.shape[0] - reference[0].shape[0]
            out = self._attend_with_reference(
                q[plain:], k[plain:], v[plain:], reference, reference_mask
            )
            if plain:
                out = jnp.concatenate([self._attend(q[:plain], k[:plain], v[:plain]), out])
        return nn.Dense(channels, dtype=self.dtype, name="to_out_0")(out)

    def _attend(self, q: Array, k: Array, v: Array) -> Array:
        return self._joined(attention(*map(self._by_head, (q, k, v))), q)

    def _attend_with_reference(
        self, q: Array, k: Array, v: Array, reference: KeysValues, mask: Array | None
    ) -> Array:
        sequences, own = k.shape[1:3]
        # Own tokens come first, so that a dropped reference is a shorter key length, which fused
        # kernels accept where they refuse a mask.
        references = (
            repeat(r, "b s (n d) -> (b g) s n d", g=sequences, n=self.num_heads) for r in reference
        )
        k, v = (
            jnp.concatenate([self._by_head(y), r.astype(y.dtype)], axis=1)
            for y, r in zip((k, v), references, strict=True)
        )
        lengths = None
        if mask is not None:
            lengths = repeat(jnp.where(mask, k.shape[1], own), "b -> (b g)", g=sequences)
        return self._joined(attention(self._by_head(q), k, v, key_lengths=lengths), q)

    def _by_head(self, x: Array) -> Array:
        return rearrange(x, "b g s (n d) -> (b g) s n d", n=self.num_heads)

    def _joined(self, out: Array, q: Array) -> Array:
        return rearrange(out, "(b g) s n d -> b g s (n d)", g=q.shape[1])


class CrossAttention(nn.Module):
    """Attention of every frame's tokens to the context tokens of its sample.

    Beside it, another one of the same queries to a picture's tokens, decoupled as in IP-Adapter
    (arXiv 2308.06721): the two results are added before the output's projection.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t s c"],
        context: Float[Array, "b r e"],
        image: KeysValues | None = None,
    ) -> Float[Array, "b t s c"]:
        """Attends.

        Args:
          x: normed tokens.
          context: what is projected to keys and values here.
          image: keys and values of the second attention.
        """
        frames, _, channels = x.shape[1:]
        q = nn.Dense(channels, use_bias=False, dtype=self.dtype, name="to_q")(x)
        k = nn.Dense(channels, use_bias=False, dtype=self.dtype, name="to_k")(context)
        v = nn.Dense(channels, use_bias=False, dtype=self.dtype, name="to_v")(context)
        # All frames of a sample share its keys, so they are one sequence of queries.
        q = rearrange(q, "b t s (n d) -> b (t s) n d", n=self.num_heads)
        out = attention(q, *map(self._by_head, (k, v)))
        if image is not None:
            out = out + attention(q, *(self._by_head(y.astype(q.dtype)) for y in image))
        out = rearrange(out, "b (t s) n d -> b t s (n d)", t=frames)
        return nn.Dense(channels, dtype=self.dtype, name="to_out_0")(out)

    def _by_head(self, x: Array) -> Array:
        return rearrange(x, "b r (n d) -> b r n d", n=self.num_heads)


class SingleTokenCrossAttention(nn.Module):
    """`CrossAttention` for one context token, with the same parameters where it needs them.

    The softmax over one key is 1, so the result is the same for every query: the projected value.
    """

    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, context: Float[Array, "b 1 e"]) -> Float[Array, "b 1 1 c"]:
        v = nn.Dense(self.channels, use_bias=False, dtype=self.dtype, name="to_v")(context)
        v = sharding.constrain(v, *sharding.TOKENS)
        out = nn.Dense(self.channels, dtype=self.dtype, name="to_out_0")(v)
        out = sharding.constrain(out, *sharding.TOKENS)
        return rearrange(out, "b r c -> b 1 r c")


class FeedForward(nn.Module):
    """GEGLU feed-forward network, four times as wide inside."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
        channels = x.shape[-1]

        def compute(self: FeedForward, x: Array) -> Array:
            x = GEGLU(4 * channels, dtype=self.dtype, name="net_0")(x)
            return nn.Dense(channels, dtype=self.dtype, name="net_2")(x)

        return some_at_once(self, compute, x)


class GEGLU(nn.Module):
    """value · gelu(gate) with the exact (erf) GELU."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s f"]:
        x = nn.Dense(2 * self.features, dtype=self.dtype, name="proj")(x)
        value, gate = jnp.split(x, 2, axis=-1)
        return value * nn.gelu(gate, approximate=False)
