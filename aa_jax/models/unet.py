"""The two UNets of Animate Anyone: the denoising UNet and the ReferenceNet.

Both are Stable Diffusion 1.5's UNet (diffusers' `UNet2DConditionModel`, whose state-dict keys the
parameter paths mirror) with reference attention; the denoising UNet may carry motion modules.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from aa_jax.config import MotionModuleConfig, UNetConfig
from aa_jax.kernels import attention as attention_kernels
from aa_jax.kernels import sharding
from aa_jax.kernels.convolution import conv3x3
from aa_jax.models.attention import KeysValues
from aa_jax.models.motion_module import MotionModule
from aa_jax.models.normalization import GroupNorm
from aa_jax.models.resnet import Downsample, ResnetBlock, Upsample
from aa_jax.models.transformer import Transformer2D

Remat = Literal["none", "blocks", "full"]
Features = dict[str, Float[Array, "b s c"]]
"""Tokens of a reference picture at every transformer block, by the block's parameter path."""
Reference = dict[str, KeysValues]
"""The same, projected to the keys and values of the denoising UNet."""
SHALLOW_LAYERS = 2
"""Layers of the last up block that are computed anew where deep features are given: those joined by
the first layer's skip and by `conv_in`'s."""


def timestep_features(timesteps: Num[Array, " b"], channels: int) -> Float[Array, "b c"]:
    """Sinusoids of the timestep, cosines first."""
    half = channels // 2
    frequencies = np.exp(np.float32(-np.log(10_000.0)) * np.arange(half, dtype="f4") / half)
    angles = timesteps.astype(jnp.float32)[:, None] * jnp.asarray(frequencies, jnp.float32)[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimestepEmbedding(nn.Module):
    """Two dense layers on the timestep's sinusoids; float32 always."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b e"]:
        x = sharding.constrain(nn.Dense(self.features, name="linear_1")(x), "batch", "channels")
        x = nn.Dense(self.features, name="linear_2")(nn.silu(x))
        return sharding.constrain(x, "batch", "channels")


class _Block(nn.Module):
    """What the blocks of all levels share: their layers of resnet, transformer, motion module."""

    config: UNetConfig
    motion: MotionModuleConfig | None
    dtype: DTypeLike
    remat: Remat
    single_token_shortcut: bool

    def resnet(self, i: int, features: int, x: Array, time_embedding: Array) -> Array:
        x = self._remat(ResnetBlock)(
            features,
            self.config.norm_num_groups,
            self.config.group_norm_scope == "over_frames",
            dtype=self.dtype,
            name=f"resnets_{i}",
        )(x, time_embedding)
        return sharding.constrain(x, *sharding.CLIP)

    def transformer(
        self,
        i: int,
        x: Array,
        context: Array,
        reference: Reference | None,
        reference_mask: Array | None,
    ) -> tuple[Array, dict[str, Array]]:
        path = f"attentions_{i}/transformer_blocks_0"
        x, tokens = self._remat(Transformer2D)(
            self.config.num_attention_heads,
            self.config.norm_num_groups,
            dtype=self.dtype,
            single_token_shortcut=self.single_token_shortcut,
            name=f"attentions_{i}",
        )(x, context, None if reference is None else reference[path], reference_mask)
        return sharding.constrain(x, *sharding.CLIP), {path: tokens}

    def motion_module(self, i: int, x: Array) -> Array:
        if self.motion is None:
            return x
        module = self._remat(MotionModule)
        x = module(self.motion, dtype=self.dtype, name=f"motion_modules_{i}")(x)
        return sharding.constrain(x, *sharding.CLIP)

    def _remat(self, module: type[nn.Module]) -> type[nn.Module]:
        if self.remat == "none":
            return module
        policies = jax.checkpoint_policies
        save = policies.save_from_both_policies(
            policies.save_only_these_names("conv"), attention_kernels.saves_results
        )
        return nn.remat(module, policy=save if self.remat == "blocks" else None)


class DownBlock(_Block):
    """Layers of one level on the way down, then a downsampler unless it is the last level."""

    features: int
    attention: bool
    downsample: bool

    @nn.compact
    def __call__(
        self,
        x: Array,
        time_embedding: Array,
        context: Array,
        reference: Reference | None,
        reference_mask: Array | None,
        first_layers: int | None = None,
    ) -> tuple[Array, list[Array], dict[str, Array]]:
        """All of it, or no more than its first layers."""
        skips, tokens = [], {}
        for i in range(self.config.layers_per_block if first_layers is None else first_layers):
            x = self.resnet(i, self.features, x, time_embedding)
            if self.attention:
                x, new = self.transformer(i, x, context, reference, reference_mask)
                tokens |= new
            x = self.motion_module(i, x)
            skips.append(x)
        if self.downsample and first_layers is None:
            x = Downsample(dtype=self.dtype, name="downsamplers_0")(x)
            skips.append(x)
        return x, skips, tokens


class MidBlock(_Block):
    """Resnet, transformer, motion module, resnet at the lowest resolution."""

    @nn.compact
    def __call__(
        self, x: Array, time_embedding: Array, context: Array, reference, reference_mask
    ) -> tuple[Array, dict[str, Array]]:
        features = x.shape[-1]
        x = self.resnet(0, features, x, time_embedding)
        x, tokens = self.transformer(0, x, context, reference, reference_mask)
        if self.motion is not None and self.motion.mid_block:
            x = self.motion_module(0, x)
        return self.resnet(1, features, x, time_embedding), tokens


class UpBlock(_Block):
    """Layers of one level on the way up, each joined by a skip, then perhaps an upsampler."""

    features: int
    attention: bool
    upsample: bool

    @nn.compact
    def __call__(
        self,
        x: Array,
        skips: list[Array],
        time_embedding: Array,
        context: Array,
        reference: Reference | None,
        reference_mask: Array | None,
        size: tuple[int, int] | None,
    ) -> tuple[Array, dict[str, Array], Array]:
        """Its last layers, as many as there are skips; also returns what the shallow ones read."""
        tokens, deep, layers = {}, x, self.config.layers_per_block + 1
        for i, skip in enumerate(reversed(skips), layers - len(skips)):
            if i == layers - SHALLOW_LAYERS:
                deep = x
            x = jnp.concatenate([x, skip], axis=-1)
            x = self.resnet(i, self.features, x, time_embedding)
            if self.attention:
                x, new = self.transformer(i, x, context, reference, reference_mask)
                tokens |= new
            x = self.motion_module(i, x)
        if self.upsample:
            x = Upsample(dtype=self.dtype, name="upsamplers_0")(x, size)
        return x, tokens, deep


class UNet(nn.Module):
    """The body both networks share.

    Attributes:
      motion: motion modules after every layer; None: the frames of a clip stay independent.
      dtype: compute dtype; parameters, norms, softmax and time embedding are float32.
      remat: what the backward pass recomputes: `none`; `blocks`: all but the outputs of
        convolutions and attentions inside every resnet, transformer and motion module; `full`:
        everything inside them.
      single_token_shortcut: see `BasicTransformerBlock`.
    """

    config: UNetConfig
    motion: MotionModuleConfig | None = None
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"
    single_token_shortcut: bool = True

    def body(
        self,
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        context: Float[Array, "b s e"],
        pose_features: Float[Array, "b t h w d"] | None = None,
        reference: Reference | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
        deep: Float[Array, "b t h w e"] | None = None,
    ) -> tuple[Float[Array, "b t h w d"], dict[str, Float[Array, "b t s d"]], Array]:
        """Everything up to the last up block.

        Returns its output, the norm1 tokens of all blocks, and the deep features: what the last
        up block's `SHALLOW_LAYERS` last layers read beside their skips. Given those, it computes
        only `conv_in`, the first layer of the first down block, and these layers.
        """
        config = self.config
        widths, levels = config.block_out_channels, len(config.block_out_channels)
        shared = (config, self.motion, self.dtype, self.remat, self.single_token_shortcut)
        embedding = TimestepEmbedding(4 * widths[0], name="time_embedding")(
            timestep_features(timesteps, widths[0])
        )
        tokens: dict[str, Array] = {}
        shallow = deep is not None

        x = conv3x3(widths[0], dtype=self.dtype, name="conv_in")(latents)
        if pose_features is not None:
            x = x + pose_features.astype(x.dtype)
        skips = [x]
        for i, width in enumerate(widths[:1] if shallow else widths):
            name = f"down_blocks_{i}"
            x, new_skips, new = DownBlock(
                *shared, width, config.attention_levels[i], i < levels - 1, name=name
            )(
                x, embedding, context, _below(reference, name), reference_mask,
                SHALLOW_LAYERS - 1 if shallow else None,
            )  # fmt: skip
            skips += new_skips
            tokens |= _prefixed(new, name)

        if shallow:
            x = deep
        else:
            x, new = MidBlock(*shared, name="mid_block")(
                x, embedding, context, _below(reference, "mid_block"), reference_mask
            )
            tokens |= _prefixed(new, "mid_block")

        for i in (levels - 1,) if shallow else range(levels):
            name, count = f"up_blocks_{i}", config.layers_per_block + 1
            skips, block_skips = skips[:-count], skips[-count:]
            size = skips[-1].shape[2:4] if skips else None
            level = levels - 1 - i
            x, new, deep = UpBlock(
                *shared, widths[level], config.attention_levels[level], level > 0, name=name
            )(x, block_skips, embedding, context, _below(reference, name), reference_mask, size)
            tokens |= _prefixed(new, name)
        return x, tokens, deep


class DenoisingUNet(UNet):
    """Predicts noise (or velocity, or the clean clip) from noisy latents."""

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        image_embeds: Float[Array, "b s e"],
        pose_features: Float[Array, "b t h w d"] | None = None,
        reference: Reference | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
        *,
        deep: Float[Array, "b t h w e"] | None = None,
        return_deep: bool = False,
    ) -> Float[Array, "b t h w c"] | tuple[Float[Array, "b t h w c"], Float[Array, "b t h w e"]]:
        """Denoises a clip; a single picture is a clip of one frame.

        Args:
          latents: noisy latents.
          timesteps: one per sample.
          image_embeds: context of the cross-attention, usually one token.
          pose_features: what the Pose Guider returns, added after `conv_in`.
          reference: keys and values from `project_reference` for r ≤ b samples. The last r samples
            of the batch read them; the first b - r (the unconditional ones of classifier-free
            guidance) do plain self-attention.
          reference_mask: False for those of the r samples that must not see their reference.
          deep: deep features of another timestep nearby, instead of which only the shallowest
            layers are computed (DeepCache, arXiv 2312.00858): an approximation.
          return_deep: return the deep features as well.
        """
        x, _, deep = self.body(
            latents, timesteps, image_embeds, pose_features, reference, reference_mask, deep
        )
        config = self.config
        over_frames = config.group_norm_scope == "over_frames"
        x = GroupNorm(config.norm_num_groups, 1e-5, over_frames, name="conv_norm_out")(x)
        x = conv3x3(config.out_channels, dtype=self.dtype, name="conv_out")(nn.silu(x))
        x = x.astype(jnp.float32)
        return (x, deep) if return_deep else x


class ReferenceUNet(UNet):
    """Reads the reference picture; its product is what its transformer blocks see.

    It has no output convolution. What follows the last block's norm1 is never computed (XLA drops
    it), though its parameters exist, as in published weights.
    """

    @nn.compact
    def __call__(
        self, latents: Float[Array, "b h w c"], image_embeds: Float[Array, "b s e"]
    ) -> Features:
        timesteps = jnp.zeros(latents.shape[0], jnp.float32)
        _, tokens, _ = self.body(
            rearrange(latents, "b h w c -> b 1 h w c"), timesteps, image_embeds
        )
        return {path: rearrange(x, "b 1 s c -> b s c") for path, x in tokens.items()}


def project_reference(
    denoising_params: dict,
    features: Features,
    dtype: DTypeLike = jnp.float32,
    *,
    storage_dtype: DTypeLike | None = None,
) -> Reference:
    """Keys and values of the reference, with the denoising UNet's own projections.

    They are the same for all frames and timesteps, so once per clip or video is enough.

    Args:
      denoising_params: parameters of `DenoisingUNet`.
      features: what `ReferenceUNet` returns.
      dtype: compute dtype.
      storage_dtype: dtype the features are rounded through first; Moore-AnimateAnyone keeps them
        as float16.
    """

    def project(path: str, x: Array) -> KeysValues:
        block = denoising_params
        for name in (*path.split("/"), "attn1"):
            block = block[name]
        if storage_dtype is not None:
            x = x.astype(storage_dtype)
        x = x.astype(dtype)
        return tuple(
            sharding.constrain(x @ block[name]["kernel"].astype(dtype), *sharding.TOKENS)
            for name in ("to_k", "to_v")
        )

    return {path: project(path, x) for path, x in features.items()}


def _below(reference: Reference | None, name: str) -> Reference | None:
    if reference is None:
        return None
    prefix = name + "/"
    return {k.removeprefix(prefix): v for k, v in reference.items() if k.startswith(prefix)}


def _prefixed(tokens: dict[str, Array], name: str) -> dict[str, Array]:
    return {f"{name}/{path}": x for path, x in tokens.items()}
