"""A ControlNet on the reference picture: a copy of the UNet's way down whose output starts at zero.

The graph is that of diffusers' `ControlNetModel` (parameter paths mirror its state-dict keys), of
which a clip's frames are a batch. The hint is the reference picture, the same for every frame and
timestep, so its features are computed once per clip or video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from aa_jax.config import ModelConfig, PoseGuiderConfig
from aa_jax.kernels.convolution import Conv1x1
from aa_jax.models.pose_guider import PoseGuider
from aa_jax.models.unet import Residuals, UNet

HINT_ENCODER = "controlnet_cond_embedding"
"""The hint encoder's place in the tree."""


class ControlNet(UNet):
    """What the denoising UNet's skips and mid block are to be added, from noisy latents and a hint.

    `hint_encoder` makes the hint; its parameters lie in the same tree, under `HINT_ENCODER`.
    """

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        context: Float[Array, "b s e"],
        hint: Float[Array, "b h w d"],
    ) -> Residuals:
        embedding = self.embed(timesteps)
        hint = rearrange(hint, "b h w d -> b 1 h w d")
        x, skips, _ = self.down(latents, embedding, context, hint, None, None)
        x, _ = self.middle(x, embedding, context)
        out = [self._zero(skip, f"controlnet_down_blocks_{i}") for i, skip in enumerate(skips)]
        return (*out, self._zero(x, "controlnet_mid_block"))

    def _zero(self, x: Array, name: str) -> Array:
        zeros = nn.initializers.zeros
        return Conv1x1(x.shape[-1], dtype=self.dtype, kernel_init=zeros, name=name)(x)


def hint_encoder(config: ModelConfig, dtype: DTypeLike = jnp.float32) -> PoseGuider:
    """Pictures in 0..1 to the hint: ControlNet's encoder, which ends in zeros."""
    return PoseGuider(
        PoseGuiderConfig(kind="controlnet", block_out_channels=config.reference.hint_channels),
        features=config.unet.block_out_channels[0],
        downscale_factor=config.autoencoder.downscale_factor,
        dtype=dtype,
    )


def with_encoder_of(params: Mapping[str, Any], denoising_unet: Mapping[str, Any]) -> dict[str, Any]:
    """A ControlNet that starts as a copy of a denoising UNet's way down.

    Args:
      params: the ControlNet's, of which hint encoder and zero convolutions stay.
      denoising_unet: the spatial layers' tree.
    """
    return {name: denoising_unet.get(name, tree) for name, tree in params.items()}
