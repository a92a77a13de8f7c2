"""The UNets of Animate Anyone: the denoising UNet and the ReferenceNet.

Both are Stable Diffusion 1.5's UNet (diffusers' `UNet2DConditionModel`, whose state-dict keys the
parameter paths mirror) with reference attention; the denoising UNet may carry motion modules.
"""

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from aa_jax.config import MotionModuleConfig, UNetConfig
from aa_jax.kernels import sharding
from aa_jax.kernels.convolution import conv3x3
from aa_jax.models.normalization import GroupNorm
from aa_jax.models.unet_blocks import (
    SHALLOW_LAYERS,
    DownBlock,
    MidBlock,
    Reference,
    Remat,
    UpBlock,
)

Features = dict[str, Float[Array, "b s c"]]
"""Tokens of a reference picture at every transformer block, by the block's parameter path."""
Residuals = tuple[Float[Array, "r t h w c"], ...]
"""What a ControlNet adds to the skips, and last to the mid block's output."""


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


class UNet(nn.Module):
    """The body all networks share.

    Attributes:
      motion: motion modules after every layer; None: the frames of a clip stay independent.
      dtype: compute dtype; parameters, norms, softmax and time embedding are float32.
      remat: what the backward pass recomputes: `none`; `blocks`: all but the outputs of
        convolutions and attentions inside every resnet, transformer and motion module; `full`:
        everything inside them.
      single_token_shortcut: see `BasicTransformerBlock`.
      concatenates: see `Transformer2D`.
      decouples: see `BasicTransformerBlock`.
    """

    config: UNetConfig
    motion: MotionModuleConfig | None = None
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"
    single_token_shortcut: bool = True
    concatenates: bool = False
    decouples: bool = False

    @property
    def _shared(self) -> tuple:
        return (
            self.config, self.motion, self.dtype, self.remat, self.single_token_shortcut,
            self.concatenates, self.decouples,
        )  # fmt: skip

    def embed(self, timesteps: Num[Array, " b"]) -> Float[Array, "b e"]:
        """The timestep as all blocks see it."""
        width = self.config.block_out_channels[0]
        return TimestepEmbedding(4 * width, name="time_embedding")(
            timestep_features(timesteps, width)
        )

    def down(
        self,
        latents: Float[Array, "b t h w c"],
        embedding: Float[Array, "b e"],
        context: Float[Array, "b s e"],
        added: Float[Array, "b #t h w d"] | None,
        reference: Reference | None,
        reference_mask: Bool[Array, " r"] | None,
        shallow: bool = False,
    ) -> tuple[Array, list[Array], dict[str, Array]]:
        """`conv_in`, to whose output `added` is added, and the down blocks, or their first layer.

        Returns the last output, the skips, and the norm1 tokens of all blocks.
        """
        config = self.config
        widths, levels = config.block_out_channels, len(config.block_out_channels)
        tokens: dict[str, Array] = {}
        x = conv3x3(widths[0], dtype=self.dtype, name="conv_in")(latents)
        if added is not None:
            x = x + added.astype(x.dtype)
        skips = [x]
        for i, width in enumerate(widths[:1] if shallow else widths):
            name = f"down_blocks_{i}"
            x, new_skips, new = DownBlock(
                *self._shared, width, config.attention_levels[i], i < levels - 1, name=name
            )(
                x, embedding, context, _below(reference, name), reference_mask,
                SHALLOW_LAYERS - 1 if shallow else None,
            )  # fmt: skip
            skips += new_skips
            tokens |= _prefixed(new, name)
        return x, skips, tokens

    def middle(
        self,
        x: Float[Array, "b t h w c"],
        embedding: Float[Array, "b e"],
        context: Float[Array, "b s e"],
        reference: Reference | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """The mid block: its output, and the norm1 tokens."""
        x, new = MidBlock(*self._shared, name="mid_block")(
            x, embedding, context, _below(reference, "mid_block"), reference_mask
        )
        return x, _prefixed(new, "mid_block")

    def body(
        self,
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        context: Float[Array, "b s e"],
        pose_features: Float[Array, "b t h w d"] | None = None,
        reference: Reference | None = None,
        reference_mask: Bool[Array, " r"] | None = None,
        residuals: Residuals | None = None,
        deep: Float[Array, "b t h w e"] | None = None,
    ) -> tuple[Float[Array, "b t h w d"], dict[str, Float[Array, "b t s d"]], Array]:
        """Everything up to the last up block.

        Returns its output, the norm1 tokens of all blocks, and the deep features: what the last
        up block's `SHALLOW_LAYERS` last layers read beside their skips. Given those, it computes
        only `conv_in`, the first layer of the first down block, and these layers.
        """
        config = self.config
        widths, levels = config.block_out_channels, len(config.block_out_channels)
        shallow = deep is not None
        embedding = self.embed(timesteps)
        x, skips, tokens = self.down(
            latents, embedding, context, pose_features, reference, reference_mask, shallow
        )
        if residuals is not None:
            # Shallow layers have the first skips only.
            skips = [added(skip, y) for skip, y in zip(skips, residuals[:-1], strict=not shallow)]
        if shallow:
            x = deep
        else:
            x, new = self.middle(x, embedding, context, reference, reference_mask)
            tokens |= new
            if residuals is not None:
                x = added(x, residuals[-1])

        for i in (levels - 1,) if shallow else range(levels):
            name, count = f"up_blocks_{i}", config.layers_per_block + 1
            skips, block_skips = skips[:-count], skips[-count:]
            size = skips[-1].shape[2:4] if skips else None
            level = levels - 1 - i
            x, new, deep = UpBlock(
                *self._shared, widths[level], config.attention_levels[level], level > 0, name=name
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
        residuals: Residuals | None = None,
        deep: Float[Array, "b t h w e"] | None = None,
        return_deep: bool = False,
    ) -> Float[Array, "b t h w c"] | tuple[Float[Array, "b t h w c"], Float[Array, "b t h w e"]]:
        """Denoises a clip; a single picture is a clip of one frame.

        Args:
          latents: noisy latents.
          timesteps: one per sample.
          image_embeds: context of the cross-attention, usually one token.
          pose_features: what the Pose Guider returns, added after `conv_in`.
          reference: keys and values from `project_reference`, or what is concatenated, for r ≤ b
            samples. The last r samples of the batch read them; the first b - r (the unconditional
            ones of classifier-free guidance) do plain self-attention.
          reference_mask: False for those of the r samples that must not see their reference.
          residuals: of ControlNets, for the last r samples as well.
          deep: deep features of another timestep nearby, instead of which only the shallowest
            layers are computed (DeepCache, arXiv 2312.00858): an approximation.
          return_deep: return the deep features as well.
        """
        x, _, deep = self.body(
            latents, timesteps, image_embeds, pose_features, reference, reference_mask, residuals,
            deep,
        )  # fmt: skip
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


def _below(reference: Reference | None, name: str) -> Reference | None:
    if reference is None:
        return None
    prefix = name + "/"
    return {k.removeprefix(prefix): v for k, v in reference.items() if k.startswith(prefix)}


def added(x: Float[Array, "b t h w c"], residual: Float[Array, "r t h w c"]) -> Array:
    """The sum, in the last r samples."""
    plain = x.shape[0] - residual.shape[0]
    total = x[plain:] + residual.astype(x.dtype)
    return jnp.concatenate([x[:plain], total]) if plain else total


def _prefixed(tokens: dict[str, Array], name: str) -> dict[str, Array]:
    return {f"{name}/{path}": x for path, x in tokens.items()}
