"""The networks of Animate Anyone together: what training and sampling call.

Parameters are a dictionary of trees: `reference_unet`, `denoising_unet` (spatial layers only),
`motion_module` (the layers of the denoising UNet under `motion_modules_*`; absent in stage 1) and
`pose_guider`; with other kinds of reference than the paper's those that `aa_jax.models.reference`
needs instead of `reference_unet`. VAE and image encoder are apart (`aa_jax.models.autoencoder`,
`image_encoder`).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from aa_jax.config import NETWORKS, ModelConfig
from aa_jax.config.reference import VARIANT_NETWORKS
from aa_jax.models import controlnet, pose_control
from aa_jax.models import reference as reference_lib
from aa_jax.models.pose_control import PoseModel
from aa_jax.models.reference import Encoded, Picture, ReferenceModel
from aa_jax.models.unet import DenoisingUNet, ReferenceUNet, added
from aa_jax.models.unet_blocks import Remat

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks that learn, as linen modules without parameters."""

    denoising_unet: DenoisingUNet
    reference: ReferenceModel
    pose: PoseModel

    @classmethod
    def create(
        cls, config: ModelConfig, *, dtype: DTypeLike = "float32", remat: Remat = "none"
    ) -> Networks:
        """Builds the networks of a model for a compute dtype and a rematerialisation mode."""
        dtype = jnp.dtype(dtype)
        motion = config.motion_module if config.motion_module.enabled else None
        return cls(
            denoising_unet=DenoisingUNet(
                config.unet,
                motion=motion,
                dtype=dtype,
                remat=remat,
                concatenates=config.reference.fusion == "concatenation",
                decouples=config.reference.kind == "ip_adapter",
            ),
            reference=reference_lib.create(config, dtype=dtype, remat=remat),
            pose=pose_control.create(config, dtype=dtype, remat=remat),
        )

    @property
    def reference_unet(self) -> ReferenceUNet:
        """The ReferenceNet of a model of that kind."""
        return self.reference.unet


# --- parameters ---------------------------------------------------------------------------------


LEARNED = (*(n for n in NETWORKS if n not in ("vae", "image_encoder")), *VARIANT_NETWORKS)
"""The parameter trees of `Networks`, whatever the kind of reference."""

_APART = {"motion_modules_": "motion_module", "reference_fusion": "reference_fusion"}
"""Parameters of the denoising UNet that are trees of their own, by the beginning of a name."""


def init_params(
    key: PRNGKeyArray, config: ModelConfig, trees: Collection[str] | None = None
) -> dict[str, Any]:
    """Random parameters of the trees named, by default of the model's; works under `eval_shape`.

    The spatial layers come out the same with and without motion modules. Outside of `jax.jit` this
    is much quicker than inside: draws of one shape then share a compiled program.
    """
    trees = config.networks if trees is None else trees
    networks = Networks.create(config)
    unet, factor = config.unet, config.autoencoder.downscale_factor
    size = 2 ** (len(unet.block_out_channels) - 1)
    latents = _float32(1, 1, size, size, unet.in_channels)
    embeds = _float32(1, 1, unet.cross_attention_dim)
    pictures = _float32(1, 1, size * factor, size * factor, 3)
    keys = jax.random.split(key, 3)
    params = {}
    if {"denoising_unet", *_APART.values()} & set(trees):
        module = networks.denoising_unet.clone(concatenates="reference_fusion" in trees)
        params |= split(module.lazy_init(keys[0], latents, _float32(1), embeds)["params"])
    if "reference_unet" in trees:
        latent = _float32(*latents.shape[1:])
        params["reference_unet"] = ReferenceUNet(unet).lazy_init(keys[1], latent, embeds)["params"]
    if "pose_guider" in trees:
        params["pose_guider"] = networks.pose.encoder.lazy_init(keys[2], pictures)["params"]

    def own_key(name: str) -> PRNGKeyArray:
        return jax.random.fold_in(key, zlib.crc32(name.encode()))

    if "pose_controlnet" in trees:
        params["pose_controlnet"] = controlnet.init_params(
            own_key("pose_controlnet"), config, of_pose=True
        )
    for name in set(reference_lib.TREES) & set(trees):
        params[name] = reference_lib.init_params(own_key(name), config, name)
    return {name: params[name] for name in LEARNED if name in params and name in trees}


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def merge(*trees: Params | None) -> dict[str, Any]:
    """The denoising UNet's whole tree from its spatial layers and the trees apart."""
    merged: dict[str, Any] = {}
    for tree in trees:
        for name, value in (tree or {}).items():
            if name not in merged:
                merged[name] = value
            elif name.startswith(tuple(_APART)):
                raise ValueError(f"both trees hold {name}")
            else:
                merged[name] = merge(merged[name], value)
    return merged


def split(params: Params) -> dict[str, dict[str, Any]]:
    """The denoising UNet's trees by network name; undoes `merge`. Those without parameters lack."""
    trees: dict[str, dict[str, Any]] = {"denoising_unet": {}}
    for name, value in params.items():
        apart = next((tree for start, tree in _APART.items() if name.startswith(start)), None)
        if apart:
            trees.setdefault(apart, {})[name] = value
        elif isinstance(value, Mapping):
            for tree, below in split(value).items():
                if below or tree == "denoising_unet":
                    trees.setdefault(tree, {})[name] = below
        else:
            trees["denoising_unet"][name] = value
    return trees


def denoising_params(params: Params) -> dict[str, Any]:
    """The denoising UNet's whole tree out of a model's."""
    return merge(params["denoising_unet"], *(params.get(tree) for tree in _APART.values()))


# --- forward passes -----------------------------------------------------------------------------


def encode_reference(
    networks: Networks,
    params: Params,
    reference_latents: Float[Array, "b h w c"] | None,
    image_embeds: Float[Array, "b s d"],
    *,
    reference_pictures: Float[Array, "b y x 3"] | None = None,
    storage_dtype: DTypeLike | None = None,
) -> Encoded:
    """What the reference pictures give the denoising UNet; once per clip or video is enough.

    Args:
      networks: the modules.
      params: their trees.
      reference_latents: the pictures' latents, where the kind of reference reads them.
      image_embeds: their embeddings.
      reference_pictures: the pictures in 0..1, where the kind of reference reads them.
      storage_dtype: dtype that features are rounded through; None: not at all.
    """
    picture = Picture(image_embeds, reference_latents, reference_pictures)
    return networks.reference.encode(params, picture, storage_dtype)


def encode_pose(
    networks: Networks, params: Params, pictures: Float[Array, "b t y x 3"]
) -> Float[Array, "b t h w d"]:
    """Pose features of skeleton pictures in 0..1."""
    return networks.pose.encode(params, pictures)


def predict(
    networks: Networks,
    params: Params,
    *,
    noisy_latents: Float[Array, "b t h w c"],
    timesteps: Num[Array, " b"],
    image_embeds: Float[Array, "b s d"],
    reference_latents: Float[Array, "b h w c"] | None = None,
    reference_pictures: Float[Array, "b y x 3"] | None = None,
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
      reference_latents: see `encode_reference`.
      reference_pictures: see there too.
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
    reference = encode_reference(
        networks, params, reference_latents, image_embeds, reference_pictures=reference_pictures
    )
    return predict_conditional(
        networks,
        params,
        noisy_latents=noisy_latents,
        timesteps=timesteps,
        image_embeds=image_embeds,
        reference=reference,
        pose_features=pose_features,
        condition_mask=condition_mask,
    )


def predict_conditional(
    networks: Networks,
    params: Params,
    *,
    noisy_latents: Float[Array, "b t h w c"],
    timesteps: Num[Array, " b"],
    image_embeds: Float[Array, "b s d"],
    reference: Encoded,
    pose_features: Float[Array, "b t h w d"],
    condition_mask: Bool[Array, " b"] | None = None,
    **deep_features: Any,
) -> Any:
    """The model's prediction without guidance; arguments as those of `predict` and, in sampling,
    of `predict_guided`."""
    context = networks.reference.context(params, image_embeds)
    seen = (noisy_latents, timesteps, context)
    return networks.denoising_unet.apply(
        {"params": denoising_params(params)},
        *seen,
        **_joined(
            networks.pose.inputs(params, pose_features, *seen),
            networks.reference.inputs(params, reference, *seen, condition_mask),
        ),
        **deep_features,
    )


def predict_guided(
    networks: Networks,
    params: Params,
    *,
    noisy_latents: Float[Array, "b t h w c"],
    timesteps: Num[Array, " b"],
    image_embeds: Float[Array, "b s d"],
    reference: Encoded,
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

    context = networks.reference.context(
        params, jnp.concatenate([jnp.zeros_like(image_embeds), image_embeds])
    )
    seen = (noisy_latents, timesteps, context[len(image_embeds) :])
    if networks.reference.same_context:  # both halves see the same pose, so it is computed once
        pose = jax.tree.map(twice, networks.pose.inputs(params, pose_features, *seen))
    else:
        pose = networks.pose.inputs(
            params, *map(twice, (pose_features, noisy_latents, timesteps)), context
        )
    both, deep = networks.denoising_unet.apply(
        {"params": denoising_params(params)},
        twice(noisy_latents),
        twice(timesteps),
        context,
        **_joined(pose, networks.reference.inputs(params, reference, *seen, guided=True)),
        deep=deep,
        return_deep=True,
    )
    unconditional, conditional = jnp.split(both, 2)
    guided = unconditional + guidance_scale * (conditional - unconditional)
    return (guided, deep) if return_deep else guided


def _joined(pose: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the denoising UNet from both; the residuals of two ControlNets are added."""
    both = {**pose, **reference}
    if "residuals" in pose and "residuals" in reference:
        pairs = zip(pose["residuals"], reference["residuals"], strict=True)
        both["residuals"] = tuple(added(x, y) for x, y in pairs)
    return both
