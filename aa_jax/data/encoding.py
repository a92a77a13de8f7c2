"""Latents and image embeddings by frozen networks, in a program apart from the training step.

The cache and uncached training with `data.latents_dtype = "bfloat16"` both go through here, always
in chunks of one shape, so that they come to the same numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, BFloat16, Float, PyTree, UInt8

from aa_jax.config import ModelConfig
from aa_jax.models.autoencoder import Autoencoder, to_unit
from aa_jax.models.image_encoder import ImageEncoder

CHUNK = 8
"""Pictures encoded together."""

Batch = dict[str, np.ndarray]


class FrameEncoder:
    """VAE and image encoder of one set of weights, with bfloat16 results."""

    def __init__(self, model: ModelConfig, params: Mapping[str, PyTree], dtype: str) -> None:
        """Keeps the parameters on the device.

        Args:
          params: of `vae` and, for embeddings, `image_encoder`.
          dtype: of the computation and the parameters, as `train.dtype`.
        """
        vae = Autoencoder(model.autoencoder, jnp.dtype(dtype))
        image_encoder = ImageEncoder(model.image_encoder, jnp.dtype(dtype))
        names = params.keys() & {"vae", "image_encoder"}
        self._params = {
            name: jax.tree.map(lambda x: jnp.asarray(x, jnp.dtype(dtype)), params[name])
            for name in names
        }

        @jax.jit
        def encode_moments(params: PyTree, pictures: UInt8[Array, "n h w 3"]) -> Array:
            moments = vae.encode_moments(params, to_unit(pictures))
            return jnp.concatenate(moments, -1).astype(jnp.bfloat16)

        @jax.jit
        def encode_embeds(params: PyTree, pixels: Float[Array, "n s s 3"]) -> Array:
            return image_encoder.encode(params, pixels)[:, 0].astype(jnp.bfloat16)

        self._moments, self._embeds = encode_moments, encode_embeds
        self._dropped = {"target"} if model.reference.reads_picture else {"reference", "target"}

    def moments(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> BFloat16[np.ndarray, "n hl wl c2"]:
        """Mean and log-variance, one after the other, of the pictures' unscaled latents."""
        return _in_chunks(self._moments, self._params["vae"], pictures)

    def embeds(self, pixels: Float[np.ndarray, "n s s 3"]) -> BFloat16[np.ndarray, "n d"]:
        """Embeddings of pictures prepared by `aa_jax.models.image_encoder.preprocess`."""
        return _in_chunks(self._embeds, self._params["image_encoder"], pixels)

    def encode_batch(self, batch: Batch, *, embeds: bool) -> Batch:
        """A batch of pictures as the loader gives it with cached latents.

        Args:
          embeds: whether image embeddings take the place of `clip_pixels`.
        """
        encoded = {k: v for k, v in batch.items() if k not in self._dropped}
        targets = batch["target"]
        flat = self.moments(targets.reshape(-1, *targets.shape[2:]))
        encoded["target_moments"] = flat.reshape(*targets.shape[:2], *flat.shape[1:])
        encoded["reference_moments"] = self.moments(batch["reference"])
        if embeds:
            encoded["image_embeds"] = self.embeds(encoded.pop("clip_pixels"))[:, None]
        return encoded


def _in_chunks(encode: Callable, params: PyTree, inputs: np.ndarray) -> np.ndarray:
    """`encode`'s results for all inputs; the last input fills the last chunk up."""
    count = len(inputs)
    places = np.minimum(np.arange(-(-count // CHUNK) * CHUNK), count - 1)
    # Everything is queued before the first result is waited for.
    parts = [encode(params, inputs[places[i : i + CHUNK]]) for i in range(0, count, CHUNK)]
    return np.concatenate(jax.device_get(parts))[:count]
