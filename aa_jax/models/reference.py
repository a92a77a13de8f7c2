"""What tells the denoising UNet of the reference picture: one small interface, a class per kind.

A kind does three things, and nothing else of the model knows which one it is:

- `context`: what cross-attention sees.
- `encode`: what the picture gives, once per clip or video: a tree of arrays [b, ...], or None.
- `inputs`: what else of the denoising UNet's arguments follows from that at one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray, PyTree

from aa_jax.config import ModelConfig
from aa_jax.models import controlnet, ip_adapter
from aa_jax.models.controlnet import ControlNet
from aa_jax.models.image_resnet import EXPANSION, ImageResNet, Projection
from aa_jax.models.ip_adapter import ImagePrompt
from aa_jax.models.reference_features import multiply_reference, project_reference
from aa_jax.models.unet import Features, ReferenceUNet
from aa_jax.models.unet_blocks import Reference, Remat

Params = Mapping[str, Any]
Encoded = PyTree
"""What `encode` returns: the same at all steps, and for all frames of a clip."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """The reference, in the forms that kinds may ask for (`ReferenceConfig.reads_...`).

    Attributes:
      image_embeds: what the image encoder gives, or zeros.
      latents: of the VAE; None where they are not read.
      pixels: RGB in 0..1 at the video's size; None where they are not read.
    """

    image_embeds: Float[Array, "b s d"]
    latents: Float[Array, "b h w c"] | None = None
    pixels: Float[Array, "b y x 3"] | None = None


class ReferenceModel(Protocol):
    """A kind of reference.

    Attributes:
      same_context: whether cross-attention sees the same whatever the picture.
    """

    same_context: bool

    def context(self, params: Params, image_embeds: Float[Array, "b s d"]) -> Float[Array, "b n e"]:
        """What cross-attention sees.

        Args:
          params: all trees of the model.
          image_embeds: the pictures', zeros of samples that must not see theirs.
        """
        ...

    def encode(
        self, params: Params, picture: Picture, storage_dtype: DTypeLike | None = None
    ) -> Encoded:
        """What the picture gives, once per clip or video.

        Args:
          params: all trees of the model.
          picture: the reference.
          storage_dtype: dtype that features are rounded through; None: not at all.
        """
        ...

    def inputs(
        self,
        params: Params,
        encoded: Encoded,
        latents: Float[Array, "r t h w c"],
        timesteps: Num[Array, " r"],
        context: Float[Array, "r s d"],
        mask: Bool[Array, " r"] | None = None,
        *,
        guided: bool = False,
    ) -> dict[str, Any]:
        """Arguments of `DenoisingUNet` at one step.

        Args:
          params: all trees of the model.
          encoded: what `encode` returned for these samples.
          latents: noisy latents of the samples that see their reference.
          timesteps: theirs.
          context: theirs.
          mask: False for those that must not see it after all.
          guided: as many unconditional samples go before them, the first half of guidance.
        """
        ...


class _SeesEmbedding:
    """Cross-attention sees the image embedding."""

    same_context = False

    def context(self, params: Params, image_embeds: Float[Array, "b s d"]) -> Array:
        del params
        return image_embeds


@dataclasses.dataclass(frozen=True)
class FeatureReference(_SeesEmbedding):
    """Features for every transformer block, which they reach by attention or concatenation.

    Attributes:
      extract: (params, picture) -> features.
      concatenates: by concatenation.
      dtype: compute dtype.
    """

    extract: Callable[[Params, Picture], Features]
    concatenates: bool
    dtype: DTypeLike
    unet: ReferenceUNet | None = None

    def encode(
        self, params: Params, picture: Picture, storage_dtype: DTypeLike | None = None
    ) -> Reference:
        features = self.extract(params, picture)
        if self.concatenates:
            return multiply_reference(
                params["reference_fusion"], features, self.dtype, storage_dtype=storage_dtype
            )
        return project_reference(
            params["denoising_unet"], features, self.dtype, storage_dtype=storage_dtype
        )

    def inputs(
        self, params, encoded: Reference, latents, timesteps, context, mask=None, *, guided=False
    ) -> dict[str, Any]:
        del params, latents, timesteps, context, guided
        return {"reference": encoded, "reference_mask": mask}


@dataclasses.dataclass(frozen=True)
class ControlReference(_SeesEmbedding):
    """A ControlNet whose hint is the picture; it runs at every step, on every frame."""

    network: ControlNet
    hint_encoder: Any

    def encode(
        self, params: Params, picture: Picture, storage_dtype: DTypeLike | None = None
    ) -> Float[Array, "b 1 h w d"]:
        del storage_dtype  # no features of a ReferenceNet
        tree = params["controlnet"][controlnet.HINT_ENCODER]
        return self.hint_encoder.apply({"params": tree}, picture.pixels[:, None])

    def inputs(
        self, params, encoded: Array, latents, timesteps, context, mask=None, *, guided=False
    ) -> dict[str, Any]:
        del guided
        residuals = self.network.apply(
            {"params": params["controlnet"]}, latents, timesteps, context, encoded
        )
        if mask is not None:
            residuals = tuple(jnp.where(mask.reshape(-1, 1, 1, 1, 1), x, 0) for x in residuals)
        return {"residuals": residuals}


@dataclasses.dataclass(frozen=True)
class NoReference(_SeesEmbedding):
    """Nothing beside the image embedding, where the model has one."""

    def encode(self, params, picture, storage_dtype=None) -> None:
        del params, picture, storage_dtype

    def inputs(
        self, params, encoded: None, latents, timesteps, context, mask=None, *, guided=False
    ) -> dict[str, Any]:
        del params, encoded, latents, timesteps, context, mask, guided
        return {}


def create(config: ModelConfig, *, dtype: DTypeLike, remat: Remat) -> ReferenceModel:
    """The kind a model's config names."""
    reference = config.reference
    if reference.kind in ("controlnet", "clip_controlnet"):
        return ControlReference(
            controlnet.create(config.unet, dtype=dtype, remat=remat),
            controlnet.hint_encoder(config, dtype),
        )
    if reference.kind == "ip_adapter":
        return ImagePrompt(config, dtype)
    if not reference.has_features:
        return NoReference()
    concatenates = reference.fusion == "concatenation"
    if reference.kind == "resnet":
        return FeatureReference(_resnet_features(config, dtype), concatenates, dtype)
    unet = ReferenceUNet(config.unet, dtype=dtype, remat=remat)

    def features(params: Params, picture: Picture) -> Features:
        tree = {"params": params["reference_unet"]}
        return unet.apply(tree, picture.latents, picture.image_embeds)

    return FeatureReference(features, concatenates, dtype, unet)


def _resnet(config: ModelConfig, dtype: DTypeLike) -> tuple[ImageResNet, Projection]:
    return (
        ImageResNet(config.reference, dtype),
        Projection(config.unet, config.autoencoder.downscale_factor, dtype),
    )


def _resnet_features(
    config: ModelConfig, dtype: DTypeLike
) -> Callable[[Params, Picture], Features]:
    network, projection = _resnet(config, dtype)

    def features(params: Params, picture: Picture) -> Features:
        stages = network.apply({"params": params["resnet"]}, picture.pixels)
        size = (n // config.autoencoder.downscale_factor for n in picture.pixels.shape[1:3])
        return projection.apply({"params": params["resnet_projection"]}, stages, *size)

    return features


# --- parameters -----------------------------------------------------------------------------------

TREES = ("controlnet", "resnet", "resnet_projection", "ip_adapter", "prompt")
"""Parameter trees of kinds of reference that no other network shares."""


def init_params(key: PRNGKeyArray, config: ModelConfig, tree: str) -> dict[str, Any]:
    """Random parameters of one of `TREES`, whatever the kind."""
    if tree == "controlnet":
        return controlnet.init_params(key, config, of_pose=False)
    if tree == "ip_adapter":
        return ip_adapter.init_params(key, config)
    if tree == "prompt":
        shape = (config.prompt.tokens, config.unet.cross_attention_dim)
        return {"embeds": jax.random.normal(key, shape)}  # about what a text encoder ends in
    unet, factor = config.unet, config.autoencoder.downscale_factor
    size = 2 ** (len(unet.block_out_channels) - 1)
    # A picture of one feature at least in the ResNet's last stage.
    picture = _float32(1, max(size * factor, 32), max(size * factor, 32), 3)
    network, projection = _resnet(config, jnp.float32)
    if tree == "resnet":
        return network.lazy_init(key, picture)["params"]
    widths = [EXPANSION * config.reference.resnet_width * 2**i for i in range(4)]
    # Not lazily: height and width would no longer be whole numbers.
    stages = [jnp.zeros((1, 1, 1, width), jnp.float32) for width in widths]
    return projection.init(key, stages, size, size)["params"]


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
