"""A ControlNet: a copy of the UNet's way down, told by a hint, whose output starts at zero.

The graph is that of diffusers' `ControlNetModel` (parameter paths mirror its state-dict keys), of
which a clip's frames are a batch. The hint is the reference picture, the same for every frame, or
the skeleton pictures; it is the same for every timestep, so its features are computed once per clip
or video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from aa_jax.config import ModelConfig, PoseGuiderConfig, UNetConfig
from aa_jax.kernels.convolution import Conv1x1
from aa_jax.models.pose_guider import PoseGuider
from aa_jax.models.unet import Residuals, UNet
from aa_jax.models.unet_blocks import Remat

HINT_ENCODER = "controlnet_cond_embedding"
"""The hint encoder's place in the tree."""


class ControlNet(UNet):
    """What the denoising UNet's skips and mid block are to be added, from noisy latents and a hint.

    `hint_encoder` makes the hint, of every frame or one for all; its parameters lie in the same
    tree, under `HINT_ENCODER`.
    """

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        context: Float[Array, "b s e"],
        hint: Float[Array, "b u h w d"],
    ) -> Residuals:
        embedding = self.embed(timesteps)
        x, skips, _ = self.down(latents, embedding, context, hint, None, None)
        x, _ = self.middle(x, embedding, context)
        out = [self._zero(skip, f"controlnet_down_blocks_{i}") for i, skip in enumerate(skips)]
        return (*out, self._zero(x, "controlnet_mid_block"))

    def _zero(self, x: Array, name: str) -> Array:
        zeros = nn.initializers.zeros
        return Conv1x1(x.shape[-1], dtype=self.dtype, kernel_init=zeros, name=name)(x)


def create(
    config: UNetConfig, *, dtype: DTypeLike = jnp.float32, remat: Remat = "none"
) -> ControlNet:
    """The ControlNet of a UNet; it knows no clips: its frames are independent."""
    config = dataclasses.replace(config, group_norm_scope="per_frame")
    return ControlNet(config, dtype=dtype, remat=remat)


def hint_encoder(
    config: ModelConfig, dtype: DTypeLike = jnp.float32, *, of_pose: bool = False
) -> PoseGuider:
    """Pictures in 0..1 to the hint: ControlNet's encoder, which ends in zeros.

    Args:
      config: of the model.
      dtype: of the computation.
      of_pose: the encoder of skeleton pictures, not that of the reference.
    """
    widths = config.reference.hint_channels
    if of_pose:
        widths = config.pose_guider.block_out_channels
    return PoseGuider(
        PoseGuiderConfig(kind="controlnet", block_out_channels=widths),
        features=config.unet.block_out_channels[0],
        downscale_factor=config.autoencoder.downscale_factor,
        dtype=dtype,
    )


def init_params(key: PRNGKeyArray, config: ModelConfig, *, of_pose: bool) -> dict[str, Any]:
    """Random parameters of the ControlNet of the reference or of the pose, with its encoder."""
    unet, factor = config.unet, config.autoencoder.downscale_factor
    size = 2 ** (len(unet.block_out_channels) - 1)
    keys = jax.random.split(key)
    shapes = (
        (1, 1, size, size, unet.in_channels),
        (1,),
        (1, 1, unet.cross_attention_dim),
        (1, 1, size, size, unet.block_out_channels[0]),
    )
    arguments = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    params = create(unet).lazy_init(keys[0], *arguments)["params"]
    pictures = jax.ShapeDtypeStruct((1, 1, size * factor, size * factor, 3), jnp.float32)
    encoder = hint_encoder(config, of_pose=of_pose).lazy_init(keys[1], pictures)["params"]
    return {**params, HINT_ENCODER: encoder}


def with_encoder_of(params: Mapping[str, Any], denoising_unet: Mapping[str, Any]) -> dict[str, Any]:
    """A ControlNet that starts as a copy of a denoising UNet's way down.

    Args:
      params: the ControlNet's, of which hint encoder and zero convolutions stay.
      denoising_unet: the spatial layers' tree.
    """
    return {name: denoising_unet.get(name, tree) for name, tree in params.items()}
