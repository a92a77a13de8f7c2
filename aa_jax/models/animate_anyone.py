"""The networks of Animate Anyone together: what training and sampling call.

Parameters are a dictionary of trees: `reference_unet`, `denoising_unet` (spatial layers only),
`motion_module` (the layers of the denoising UNet under `motion_modules_*`; absent in stage 1) and
`pose_guider`. VAE and image encoder are apart (`aa_jax.models.autoencoder`, `image_encoder`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from aa_jax.config import ModelConfig
from aa_jax.models.pose_guider import PoseGuider
from aa_jax.models.unet import DenoisingUNet, Reference, ReferenceUNet, Remat, project_reference

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Networks:
    """The three networks that learn, as linen modules without parameters."""

    denoising_unet: DenoisingUNet
    reference_unet: ReferenceUNet
    pose_guider: PoseGuider

    @classmethod
    def create(
        cls, config: ModelConfig, *, dtype: DTypeLike = "float32", remat: Remat = "none"
    ) -> Networks:
        """Builds the networks of a model for a compute dtype and a rematerialisation mode."""
        dtype = jnp.dtype(dtype)
        motion = config.motion_module if config.motion_module.enabled else None
        return cls(
            denoising_unet=DenoisingUNet(config.unet, motion=motion, dtype=dtype, remat=remat),
            reference_unet=ReferenceUNet(config.unet, dtype=dtype, remat=remat),
            pose_guider=PoseGuider(
                config.pose_guider,
                features=config.unet.block_out_channels[0],
                downscale_factor=config.autoencoder.downscale_factor,
                dtype=dtype,
            ),
        )


# --- parameters ---------------------------------------------------------------------------------


LEARNED = ("reference_unet", "denoising_unet", "motion_module", "pose_guider")
"""The parameter trees of `Networks`."""


def init_params(
    key: PRNGKeyArray, config: ModelConfig, trees: Collection[str] = LEARNED
) -> dict[str, Any]:
    """Random parameters of the trees named, by default of all; works under `jax.eval_shape`.

    The spatial layers come out the same with and without motion modules. Outside of `jax.jit` this
    is much quicker than inside: draws of one shape then share a compiled program.
    """
    networks = Networks.create(config)
    unet, factor = config.unet, config.autoencoder.downscale_factor
    size = 2 ** (len(unet.block_out_channels) - 1)
    latents = _float32(1, 1, size, size, unet.in_channels)
    embeds = _float32(1, 1, unet.cross_attention_dim)
    pictures = _float32(1, 1, size * factor, size * factor, 3)
    keys = jax.random.split(key, 3)
    params = {}
    if {"denoising_unet", "motion_module"} & set(trees):
        module = networks.denoising_unet
        spatial, motion = split(module.lazy_init(keys[0], latents, _float32(1), embeds)["params"])
        params |= {"denoising_unet": spatial} | ({"motion_module": motion} if motion else {})
    if "reference_unet" in trees:
        latent = _float32(*latents.shape[1:])
        params["reference_unet"] = networks.reference_unet.lazy_init(keys[1], latent, embeds)[
            "params"
        ]
    if "pose_guider" in trees:
        params["pose_guider"] = networks.pose_guider.lazy_init(keys[2], pictures)["params"]
    return {name: params[name] for name in LEARNED if name in params and name in trees}


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def merge(denoising_unet: Params, motion_module: Params | None) -> dict[str, Any]:
    """The denoising UNet's whole tree from its spatial and its temporal part."""
    merged = dict(denoising_unet)
    for name, value in (motion_module or {}).items():
        if name not in merged:
            merged[name] = value
        elif name.startswith("motion_modules_"):
            raise ValueError(f"both trees hold {name}")
        else:
            merged[name] = merge(merged[name], value)
    return merged


def split(params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    """The denoising UNet's spatial part, and what lies under `motion_modules_*`; undoes `merge`."""
    spatial, motion = {}, {}
    for name, value in params.items():
        if name.startswith("motion_modules_"):
            motion[name] = value
        elif isinstance(value, Mapping):
            spatial[name], below = split(value)
            motion |= {name: below} if below else {}
        else:
            spatial[name] = value
    return spatial, motion


def denoising_params(params: Params) -> dict[str, Any]:
    """The denoising UNet's whole tree out of a model's."""
    return merge(params["denoising_unet"], params.get("motion_module"))


# --- forward passes -----------------------------------------------------------------------------


def encode_reference(
    networks: Networks,
    params: Params,
    reference_latents: Float[Array, "b h w c"],
    image_embeds: Float[Array, "b s d"],
    *,
    storage_dtype: DTypeLike | None = None,
) -> Reference:
    """Keys and values of the reference pictures; once per clip or video is enough."""
    features = networks.reference_unet.apply(
        {"params": params["reference_unet"]}, reference_latents, image_embeds
    )
    return project_reference(
        params["denoising_unet"],
        features,
        networks.denoising_unet.dtype,
        storage_dtype=storage_dtype,
    )


def encode_pose(
    networks: Networks, params: Params, pictures: Float[Array, "b t y x 3"]
) -> Float[Array, "b t h w d"]:
    """Pose features of skeleton pictures in 0..1."""
    return networks.pose_guider.apply({"params": params["pose_guider"]}, pictures)


def predict(
    networks: Networks,
    params: Params,
    *,
    noisy_latents: Float[Array, "b t h w c"],
    timesteps: Num[Array, " b"],
    image_embeds: Float[Array, "b s d"],
    reference_latents: Float[Array, "b h w c"],
    pose_pictures: Float[Array, "b t y x 3"] | None = None,
    pose_features: Float[Array, "b t h w d"] | None = None,
    condition_mask: Bool[Array, " b"] | None = None,
) -> Float[Array, "b t h w c"]:
    """The model's prediction in training.

    Args:
      networks: the modules.
      params: their trees.
      noisy_latents: clips to denoise.
      timesteps: one per sample.
      image_embeds: the reference pictures' embeddings.
      reference_latents: the reference pictures' latents.
      pose_pictures: skeleton pictures in 0..1.
      pose_features: what `encode_pose` made of them, instead of the pictures.
      condition_mask: False for samples trained without condition, which get what sampling gives
        to the unconditional half: a zero embedding, no reference, the pose all the same.
    """
    if (pose_pictures is None) == (pose_features is None):
        raise ValueError("predict needs either pose_pictures or pose_features")
    if pose_features is None:
        pose_features = encode_pose(networks, params, pose_pictures)
    if condition_mask is not None:
        image_embeds = jnp.where(condition_mask[:, None, None], image_embeds, 0)
    return networks.denoising_unet.apply(
        {"params": denoising_params(params)},
        noisy_latents,
        timesteps,
        image_embeds,
        pose_features=pose_features,
        reference=encode_reference(networks, params, reference_latents, image_embeds),
        reference_mask=condition_mask,
    )


def predict_guided(
    networks: Networks,
    params: Params,
    *,
    noisy_latents: Float[Array, "b t h w c"],
    timesteps: Num[Array, " b"],
    image_embeds: Float[Array, "b s d"],
    reference: Reference,
    pose_features: Float[Array, "b t h w d"],
    guidance_scale: float | Float[Array, ""],
    deep: Float[Array, "b2 t h w e"] | None = None,
    return_deep: bool = False,
) -> Float[Array, "b t h w c"] | tuple[Float[Array, "b t h w c"], Float[Array, "b2 t h w e"]]:
    """The model's prediction in sampling, with classifier-free guidance.

    One batch of unconditional samples (zero embedding, no reference) and conditional ones; both
    see the pose.

    Args:
      networks: the modules.
      params: their trees.
      noisy_latents: clips to denoise.
      timesteps: one per sample.
      image_embeds: the reference pictures' embeddings.
      reference: what `encode_reference` returns.
      pose_features: what `encode_pose` returns.
      guidance_scale: 1 is no guidance.
      deep: see `DenoisingUNet`; of both halves of the batch.
      return_deep: return the deep features as well.
    """

    def twice(x: Array) -> Array:
        return jnp.concatenate([x, x])

    both, deep = networks.denoising_unet.apply(
        {"params": denoising_params(params)},
        twice(noisy_latents),
        twice(timesteps),
        jnp.concatenate([jnp.zeros_like(image_embeds), image_embeds]),
        pose_features=twice(pose_features),
        reference=reference,
        deep=deep,
        return_deep=True,
    )
    unconditional, conditional = jnp.split(both, 2)
    guided = unconditional + guidance_scale * (conditional - unconditional)
    return (guided, deep) if return_deep else guided
