"""The blocks of the UNets: resnet, transformer and motion module, layer after layer.

As in diffusers (`CrossAttnDownBlock2D` and its neighbours), whose state-dict keys the parameter
paths mirror.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.config import MotionModuleConfig, UNetConfig
from aa_jax.kernels import attention as attention_kernels
from aa_jax.kernels import sharding
from aa_jax.models.attention import KeysValues
from aa_jax.models.motion_module import MotionModule
from aa_jax.models.resnet import Downsample, ResnetBlock, Upsample
from aa_jax.models.transformer import Transformer2D

Remat = Literal["none", "blocks", "full"]
Reference = dict[str, KeysValues | Float[Array, "b s c"]]
"""What every transformer block reads of the reference picture, by the block's parameter path: keys
and values for its self-attention or, decoupled, for its cross-attention, or what is added where
features are concatenated."""
SHALLOW_LAYERS = 2
"""Layers of the last up block that are computed anew where deep features are given: those joined by
the first layer's skip and by `conv_in`'s."""


class _Block(nn.Module):
    """What the blocks of all levels share: their layers of resnet, transformer, motion module."""

    config: UNetConfig
    motion: MotionModuleConfig | None
    dtype: DTypeLike
    remat: Remat
    single_token_shortcut: bool
    concatenates: bool
    decouples: bool

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
            concatenates=self.concatenates,
            decouples=self.decouples,
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
