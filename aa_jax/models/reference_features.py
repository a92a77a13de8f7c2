"""From a reference's features to what transformer blocks read of them, once per clip or video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from aa_jax.kernels import sharding
from aa_jax.models.attention import KeysValues
from aa_jax.models.unet import Features
from aa_jax.models.unet_blocks import Reference

Params = Mapping[str, Any]


def project_reference(
    denoising_params: Params,
    features: Features,
    dtype: DTypeLike = jnp.float32,
    *,
    storage_dtype: DTypeLike | None = None,
) -> Reference:
    """Keys and values of the reference, with the denoising UNet's own projections.

    They are the same for all frames and timesteps, so once per clip or video is enough.

    Args:
      denoising_params: parameters of `DenoisingUNet`.
      features: tokens by the path of every transformer block.
      dtype: compute dtype.
      storage_dtype: dtype the features are rounded through first; Moore-AnimateAnyone keeps them
        as float16.
    """

    def project(path: str, x: Array) -> KeysValues:
        block = _at(denoising_params, path)["attn1"]
        x = _rounded(x, storage_dtype).astype(dtype)
        return tuple(
            sharding.constrain(x @ block[name]["kernel"].astype(dtype), *sharding.TOKENS)
            for name in ("to_k", "to_v")
        )

    return {path: project(path, x) for path, x in features.items()}


def multiply_reference(
    fusion_params: Params,
    features: Features,
    dtype: DTypeLike = jnp.float32,
    *,
    storage_dtype: DTypeLike | None = None,
) -> Reference:
    """The features' part of the 1x1 convolutions of `Concatenation`; arguments as above."""

    def multiply(path: str, x: Array) -> Array:
        block = _at(fusion_params, path.rpartition("/")[0])["reference_fusion"]
        kernel = block["kernel"][0, 0, x.shape[-1] :].astype(dtype)
        x = _rounded(x, storage_dtype).astype(dtype)
        return sharding.constrain(x @ kernel, *sharding.TOKENS)

    return {path: multiply(path, x) for path, x in features.items()}


def _at(tree: Params, path: str) -> Params:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def _rounded(x: Array, dtype: DTypeLike | None) -> Array:
    return x if dtype is None else x.astype(dtype)
