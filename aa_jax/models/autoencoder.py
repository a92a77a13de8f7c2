"""The VAE between pictures and latents: diffusers' `FlaxAutoencoderKL` behind an NHWC interface.

    vae = Autoencoder(AutoencoderConfig())
    latents = vae.encode(params, pictures)   # [b, h, w, 3] in -1..1 -> [b, h/8, w/8, 4]
    pictures = vae.decode(params, latents)

Latents are the posterior mean times `scaling_factor`, which makes their variance about one.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree, UInt8

from aa_jax.config import AutoencoderConfig
from aa_jax.kernels import convolution, sharding
from aa_jax.models.normalization import GroupNorm

PIXELS_AT_ONCE = 24 * 64 * 64
"""Of pictures encoded or decoded together: a clip of the puppets', or one picture of 256x256 and
more, which keeps any device busy. More at once only take memory, and on a CPU time."""


def to_unit(pictures: UInt8[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Pictures of 0..255 as the VAE takes them: float32 in -1..1."""
    return pictures.astype(jnp.float32) / 127.5 - 1.0


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """VAE functions for one architecture; holds no parameters.

    Attributes:
      config: the architecture.
      dtype: of the computation; results are float32.
    """

    config: AutoencoderConfig
    dtype: Any = jnp.float32

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """Random float32 parameters."""
        size = self.config.downscale_factor
        pictures = jnp.zeros((1, size, size, 3))

        def init(key):
            return _module(self.config, self.dtype).init(key, pictures, method=_autoencode)

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return jax.jit(init)(key)["params"]

    def encode_moments(
        self, params: PyTree, pictures: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b hl wl c"], Float[Array, "b hl wl c"]]:
        """Mean and log-variance of the unscaled latents.

        Args:
          params: tree of `init_params`.
          pictures: [b, h, w, 3] in -1..1; h and w are multiples of `config.downscale_factor`.

        Returns:
          Two arrays [b, h / factor, w / factor, latent_channels].
        """
        factor = self.config.downscale_factor
        if pictures.shape[1] % factor or pictures.shape[2] % factor:
            raise ValueError(
                f"pictures of {pictures.shape[2]}x{pictures.shape[1]} pixels: width and height "
                f"must be multiples of the VAE factor {factor}"
            )
        moments = self._apply(params, pictures, _encode).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def encode(
        self, params: PyTree, pictures: Float[Array, "b h w 3"]
    ) -> Float[Array, "b hl wl c"]:
        """Scaled latents [b, h / factor, w / factor, c] (posterior mean) of pictures in -1..1."""
        mean, _ = self.encode_moments(params, pictures)
        return mean * self.config.scaling_factor

    def decode(self, params: PyTree, latents: Float[Array, "b hl wl c"]) -> Float[Array, "b h w 3"]:
        """Pictures [b, h, w, 3], about -1..1 and not clipped, of scaled latents."""
        latents = latents.astype(jnp.float32) / self.config.scaling_factor
        return self._apply(params, latents, _decode).astype(jnp.float32)

    def encode_moments_in_chunks(
        self, params: PyTree, pictures: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b hl wl c"], Float[Array, "b hl wl c"]]:
        """As `encode_moments`, few pictures at a time; on a mesh every device takes its own."""
        chunk = max(1, PIXELS_AT_ONCE // (pictures.shape[1] * pictures.shape[2]))

        def encode(params: PyTree, pictures: Array) -> tuple[Array, Array]:
            return _in_chunks(functools.partial(self.encode_moments, params), pictures, chunk)

        return sharding.by_device(encode, pictures, shared=(params,))

    def decode_in_chunks(
        self,
        params: PyTree,
        latents: Float[Array, "b hl wl c"],
        chunk: int = 4,
    ) -> Float[Array, "b h w 3"]:
        """As `decode`, `chunk` pictures at a time, so that activations stay small."""
        return _in_chunks(functools.partial(self.decode, params), latents, chunk)

    def _apply(self, params, inputs, method):
        module = _module(self.config, self.dtype)
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            nn.intercept_methods(_with_our_layers),
        ):
            return module.apply({"params": params}, inputs.astype(self.dtype), method=method)


def _with_our_layers(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    """Computes flax's GroupNorms and convolutions by ours, which are much faster on CPUs."""
    layer = context.module
    if context.method_name != "__call__":
        return call(*args, **kwargs)
    if isinstance(layer, nn.GroupNorm):
        norm = GroupNorm(layer.num_groups, layer.epsilon, parent=None)
        (pictures,) = args
        return norm.apply({"params": layer.variables["params"]}, pictures[:, None])[:, 0]
    if isinstance(layer, nn.Conv) and (ours := convolution.equivalent(layer)):
        return ours.apply({"params": layer.variables["params"]}, *args)
    return call(*args, **kwargs)


def _in_chunks(function: Callable[[Array], PyTree], inputs: Array, chunk: int) -> PyTree:
    """A function of pictures [b, ...], called with `chunk` of them at a time."""
    count = len(inputs)
    if count <= chunk:
        return function(inputs)
    # Zeros fill the last chunk up: one compiled body serves every chunk.
    padded = jnp.pad(inputs, ((0, -count % chunk), *[(0, 0)] * (inputs.ndim - 1)))
    results = jax.lax.map(function, padded.reshape(-1, chunk, *inputs.shape[1:]))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], results)


# `FlaxAutoencoderKL.encode` and `.decode` take and return NCHW though everything inside is NHWC;
# these go to the submodules directly.


def _encode(module, pictures):
    return module.quant_conv(module.encoder(pictures))


def _decode(module, latents):
    return module.decoder(module.post_quant_conv(latents))


def _autoencode(module, pictures):
    mean, _ = jnp.split(_encode(module, pictures), 2, axis=-1)
    return _decode(module, mean)


@functools.cache
def _module(config: AutoencoderConfig, dtype: Any):
    hide_deprecations()
    from diffusers.models import vae_flax

    levels = len(config.block_out_channels)
    return vae_flax.FlaxAutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scaling_factor,
        dtype=dtype,
    )


def hide_deprecations() -> None:
    """Keeps from users that diffusers' Flax classes are deprecated; to be called before importing.

    Every class says it, some at import; the version is pinned in `pyproject.toml` for this reason.
    """
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.get_logger()  # which gives the library's logger its handler
    for handler in logging.getLogger("diffusers").handlers:
        handler.addFilter(_is_no_deprecation)


def _is_no_deprecation(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Flax classes are deprecated")
