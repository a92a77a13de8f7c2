"""What tells the denoising UNet of the pose: features after `conv_in`, or a whole ControlNet.

Either way skeleton pictures are encoded once per clip or video; a ControlNet, whose hint that is,
then runs at every step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from aa_jax.config import ModelConfig
from aa_jax.models import controlnet
from aa_jax.models.controlnet import ControlNet
from aa_jax.models.pose_guider import PoseGuider
from aa_jax.models.unet_blocks import Remat

Params = Mapping[str, Any]


class PoseModel(Protocol):
    """A kind of pose guidance."""

    encoder: PoseGuider

    def encode(
        self, params: Params, pictures: Float[Array, "b t y x 3"]
    ) -> Float[Array, "b t h w d"]:
        """Features of skeleton pictures in 0..1; `params` are all trees of the model."""
        ...

    def inputs(
        self,
        params: Params,
        features: Float[Array, "b t h w d"],
        latents: Float[Array, "b t h w c"],
        timesteps: Num[Array, " b"],
        context: Float[Array, "b s e"],
    ) -> dict[str, Any]:
        """Arguments of `DenoisingUNet` at one step.

        Args:
          params: all trees of the model.
          features: what `encode` returned.
          latents: noisy latents.
          timesteps: one per sample.
          context: what cross-attention sees.
        """
        ...


@dataclasses.dataclass(frozen=True)
class GuidedPose:
    """The Pose Guider."""

    encoder: PoseGuider

    def encode(self, params: Params, pictures: Array) -> Float[Array, "b t h w d"]:
        return self.encoder.apply({"params": params["pose_guider"]}, pictures)

    def inputs(self, params, features: Array, latents, timesteps, context) -> dict[str, Any]:
        del params, latents, timesteps, context
        return {"pose_features": features}


@dataclasses.dataclass(frozen=True)
class ControlledPose:
    """A ControlNet whose hint the skeleton pictures are."""

    encoder: PoseGuider
    network: ControlNet

    def encode(self, params: Params, pictures: Array) -> Float[Array, "b t h w d"]:
        tree = params["pose_controlnet"][controlnet.HINT_ENCODER]
        return self.encoder.apply({"params": tree}, pictures)

    def inputs(self, params, features: Array, latents, timesteps, context) -> dict[str, Any]:
        tree = {"params": params["pose_controlnet"]}
        return {"residuals": self.network.apply(tree, latents, timesteps, context, features)}


def create(
    config: ModelConfig, *, dtype: DTypeLike = jnp.float32, remat: Remat = "none"
) -> PoseModel:
    """The kind a model's config names."""
    if config.pose_guider.kind == "whole_controlnet":
        return ControlledPose(
            controlnet.hint_encoder(config, dtype, of_pose=True),
            controlnet.create(config.unet, dtype=dtype, remat=remat),
        )
    guider = PoseGuider(
        config.pose_guider,
        features=config.unet.block_out_channels[0],
        downscale_factor=config.autoencoder.downscale_factor,
        dtype=dtype,
    )
    return GuidedPose(guider)
