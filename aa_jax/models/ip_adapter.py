"""IP-Adapter (arXiv 2308.06721): the reference as tokens that cross-attention reads by a prompt.

The graphs are those of tencent-ailab/IP-Adapter and of diffusers (`ImageProjection`,
`IPAdapterPlusImageProjection`, `IPAdapterAttnProcessor2_0`). Tokens, and their keys and values in
every transformer block, are the same for all frames and timesteps, so they are computed once per
clip or video.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from flax import traverse_util
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from aa_jax.config import IPAdapterConfig, ModelConfig
from aa_jax.kernels import sharding
from aa_jax.kernels.attention import attention
from aa_jax.models.attention import KeysValues
from aa_jax.models.image_encoder import ImageEncoder
from aa_jax.models.image_resnet import transformer_levels
from aa_jax.models.normalization import LayerNorm

if TYPE_CHECKING:
    from aa_jax.models.reference import Picture

Params = Mapping[str, Any]

PROJECTION = "image_proj"
"""The image projection's place in the tree; the others are named after transformer blocks."""
NAMES = ("to_k_ip", "to_v_ip")
"""Projections to keys and values, under `attn2` of every transformer block's path."""


# --- from an embedding to tokens ------------------------------------------------------------------


class LinearProjection(nn.Module):
    """Tokens as a linear map of the image embedding (ip-adapter_sd15)."""

    tokens: int
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image_embeds: Float[Array, "b 1 d"]) -> Float[Array, "b s e"]:
        x = nn.Dense(self.tokens * self.features, dtype=self.dtype, name="proj")(image_embeds[:, 0])
        return LayerNorm(name="norm")(rearrange(x, "b (s e) -> b s e", s=self.tokens))


class Resampler(nn.Module):
    """Learnt queries that attend to the image encoder's hidden states (ip-adapter-plus_sd15)."""

    config: IPAdapterConfig
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, states: Float[Array, "b n d"]) -> Float[Array, "b s e"]:
        width = self.config.resampler_width
        shape = (1, self.config.tokens, width)
        latents = self.param("latents", nn.initializers.normal(width**-0.5), shape, jnp.float32)
        x = jnp.broadcast_to(latents.astype(self.dtype), (states.shape[0], *shape[1:]))
        states = nn.Dense(width, dtype=self.dtype, name="proj_in")(states)
        for i in range(self.config.resampler_layers):
            x = ResamplerBlock(self.config, dtype=self.dtype, name=f"blocks_{i}")(x, states)
        x = nn.Dense(self.features, dtype=self.dtype, name="proj_out")(x)
        return LayerNorm(name="norm_out")(x)


class ResamplerBlock(nn.Module):
    """Attention of the queries to hidden states and themselves, then a feed-forward network."""

    config: IPAdapterConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s c"], states: Float[Array, "b n c"]
    ) -> Float[Array, "b s c"]:
        channels, heads = x.shape[-1], self.config.resampler_heads
        inner = heads * self.config.resampler_head_dim

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)

        own = LayerNorm(name="norm2")(x)
        seen = jnp.concatenate([LayerNorm(name="norm1")(states), own], axis=1)
        k, v = jnp.split(dense(2 * inner, "to_kv")(seen), 2, axis=-1)
        q, k, v = (
            rearrange(y, "b s (n d) -> b s n d", n=heads) for y in (dense(inner, "to_q")(own), k, v)
        )
        out = rearrange(attention(q, k, v), "b s n d -> b s (n d)")
        x = x + dense(channels, "to_out")(out)
        y = dense(4 * channels, "ff_in")(LayerNorm(name="ff_norm")(x))
        return x + dense(channels, "ff_out")(nn.gelu(y, approximate=False))


def projection(config: ModelConfig, dtype: DTypeLike = jnp.float32) -> LinearProjection | Resampler:
    """The image projection that a model's config names."""
    features = config.unet.cross_attention_dim
    if config.reads_patches:
        return Resampler(config.ip_adapter, features, dtype)
    return LinearProjection(config.ip_adapter.tokens, features, dtype)


# --- as a kind of reference -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ImagePrompt:
    """IP-Adapter as a kind of reference (`aa_jax.models.reference.ReferenceModel`).

    Cross-attention sees a constant prompt, in the unconditional half of guidance as well, and the
    picture's tokens; without a reference those of an embedding of zeros, or of a picture of zeros
    where the image encoder gives hidden states, as IP-Adapter was trained.
    """

    config: ModelConfig
    dtype: DTypeLike = jnp.float32

    same_context = True

    def context(self, params: Params, image_embeds: Float[Array, "b n d"]) -> Array:
        prompt = params["prompt"]["embeds"][None]
        context = jnp.broadcast_to(prompt, (image_embeds.shape[0], *prompt.shape[1:]))
        return sharding.constrain(context, *sharding.TOKENS)

    def encode(
        self, params: Params, picture: Picture, storage_dtype: DTypeLike | None = None
    ) -> dict[str, dict[str, KeysValues]]:
        del storage_dtype  # no features of a ReferenceNet
        embeds = picture.image_embeds
        return {
            "shown": self._keys_values(params, embeds),
            "hidden": self._keys_values(params, self._nothing(params, embeds)),
        }

    def inputs(
        self,
        params: Params,
        encoded: dict[str, dict[str, KeysValues]],
        latents: Float[Array, "r t h w c"],
        timesteps: Num[Array, " r"],
        context: Float[Array, "r s d"],
        mask: Bool[Array, " r"] | None = None,
        *,
        guided: bool = False,
    ) -> dict[str, Any]:
        del params, latents, timesteps, context
        shown, hidden = encoded["shown"], encoded["hidden"]
        if guided:
            shown = jax.tree.map(lambda *halves: jnp.concatenate(halves), hidden, shown)
        elif mask is not None:
            seen = mask[:, None, None]
            shown = jax.tree.map(lambda x, y: jnp.where(seen, x, y), shown, hidden)
        return {"reference": shown}

    def _nothing(self, params: Params, embeds: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """What stands for the embeddings where there is no reference."""
        if not self.config.reads_patches:
            return jnp.zeros_like(embeds)
        size = self.config.image_encoder.image_size
        encoder = ImageEncoder.of(self.config, self.dtype)
        states = encoder.encode(params["image_encoder"], jnp.zeros((1, size, size, 3)))
        return jnp.broadcast_to(states, embeds.shape)

    def _keys_values(self, params: Params, embeds: Float[Array, "b n d"]) -> dict[str, KeysValues]:
        """By transformer block; values are multiplied by the adapter's scale."""
        tree = params["ip_adapter"]
        tokens = projection(self.config, self.dtype).apply({"params": tree[PROJECTION]}, embeds)
        tokens = tokens.astype(self.dtype)

        kernels = traverse_util.flatten_dict(tree, sep="/")

        def project(path: str, name: str) -> Array:
            kernel = kernels[f"{path}/attn2/{name}/kernel"].astype(self.dtype)
            return sharding.constrain(tokens @ kernel, *sharding.TOKENS)

        scale = jnp.asarray(self.config.ip_adapter.scale, self.dtype)
        return {
            path: (project(path, "to_k_ip"), scale * project(path, "to_v_ip"))
            for path in transformer_levels(self.config.unet)
        }


# --- parameters -----------------------------------------------------------------------------------


def init_params(key: PRNGKeyArray, config: ModelConfig) -> dict[str, Any]:
    """Random parameters of the tree `ip_adapter`."""
    clip, unet = config.image_encoder, config.unet
    shape = (1, 1, clip.projection_dim)
    if config.reads_patches:
        shape = (1, 1 + (clip.image_size // clip.patch_size) ** 2, clip.hidden_size)
    embeds = jax.ShapeDtypeStruct(shape, jnp.float32)
    flat = {(PROJECTION,): projection(config).lazy_init(key, embeds)["params"]}
    for path, level in transformer_levels(unet).items():
        for name in NAMES:
            own_key = jax.random.fold_in(key, zlib.crc32(f"{path}/{name}".encode()))
            shape = (unet.cross_attention_dim, unet.block_out_channels[level])
            kernel = nn.initializers.lecun_normal()(own_key, shape, jnp.float32)
            flat[(*path.split("/"), "attn2", name)] = {"kernel": kernel}
    return traverse_util.unflatten_dict(flat)


def with_projections_of(params: Params, denoising_unet: Params) -> dict[str, Any]:
    """An adapter whose keys and values start as those of a denoising UNet's prompt.

    Args:
      params: the adapter's, of which the image projection stays.
      denoising_unet: the spatial layers' tree.
    """
    theirs = traverse_util.flatten_dict(denoising_unet)
    return traverse_util.unflatten_dict(
        {
            path: theirs.get(tuple(name.removesuffix("_ip") for name in path), x)
            for path, x in traverse_util.flatten_dict(params).items()
        }
    )
