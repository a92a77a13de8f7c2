"""The image encoder: CLIP's vision tower (transformers' Flax module) and a bias-free projection.

encoder = ImageEncoder(ImageEncoderConfig())
pixels = preprocess(picture, encoder.config.image_size)    # uint8 [h, w, 3] -> [s, s, 3]
embeds = encoder.encode(params, pixels[None])              # [1, 1, projection_dim]
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8

from aa_jax.config import ImageEncoderConfig, ModelConfig

CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclasses.dataclass(frozen=True)
class ImageEncoder:
    """Functions of the image encoder for one architecture; holds no parameters.

    Attributes:
      config: the architecture.
      dtype: of the computation; results are float32.
      patches: `encode` gives the penultimate hidden states (`ModelConfig.reads_patches`).
    """

    config: ImageEncoderConfig
    dtype: Any = jnp.float32
    patches: bool = False

    @classmethod
    def of(cls, model: ModelConfig, dtype: Any = jnp.float32) -> "ImageEncoder":
        """That of a model, which gives what its kind of reference reads."""
        return cls(model.image_encoder, dtype, model.reads_patches)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """Random float32 parameters: `vision_model` and `visual_projection`."""
        size = self.config.image_size

        def init(key):
            tower, projection = jax.random.split(key)
            module = _module(self.config, jnp.float32)
            params = module.init(tower, jnp.zeros((1, size, size, 3)))["params"]
            shape = (self.config.hidden_size, self.config.projection_dim)
            params = params | {"visual_projection": {"kernel": jnp.zeros(shape)}}
            return _clip_init(projection, params, self.config)

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return jax.jit(init)(key)

    def encode(self, params: PyTree, pixels: Float[Array, "b s s 3"]) -> Float[Array, "b n d"]:
        """Embeddings as a context of one token: the projected, post-layernormed class token.

        With `patches` what the last layer reads instead: class token first, then one per patch.

        Args:
          params: tree of `init_params`.
          pixels: [b, image_size, image_size, 3] from `preprocess`.

        Returns:
          [b, 1, projection_dim], or [b, 1 + patches, hidden_size].
        """
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            if self.patches:
                states = self._tower(params, pixels, output_hidden_states=True).hidden_states
                return states[-2].astype(jnp.float32)
            pooled = self._tower(params, pixels).pooler_output
            kernel = params["visual_projection"]["kernel"]
            embeds = pooled.astype(self.dtype) @ kernel.astype(self.dtype)
        return embeds.astype(jnp.float32)[:, None, :]

    def hidden_states(
        self, params: PyTree, pixels: Float[Array, "b s s 3"]
    ) -> Float[Array, "b n d"]:
        """The tower's last hidden states: class token first, then one per patch; not normed."""
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return self._tower(params, pixels).last_hidden_state.astype(jnp.float32)

    def _tower(self, params, pixels, **settings):
        tower = {"params": {"vision_model": params["vision_model"]}}
        module = _module(self.config, self.dtype)
        return module.apply(tower, pixels.astype(self.dtype), **settings)


def no_embeds(config: ImageEncoderConfig, count: int) -> Float[Array, "b 1 d"]:
    """What a model without image encoder sees instead: the zeros of unconditional samples."""
    return jnp.zeros((count, 1, config.projection_dim), jnp.float32)


def preprocess(picture: UInt8[np.ndarray, "h w 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    """A picture as CLIP wants it: resized (bicubic) without keeping its aspect, normalised."""
    from PIL import Image

    resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return (np.asarray(resized, np.float32) / np.float32(255) - CLIP_MEAN) / CLIP_STD


@functools.cache
def _module(config: ImageEncoderConfig, dtype: Any):
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.clip.modeling_flax_clip import FlaxCLIPVisionModule

    return FlaxCLIPVisionModule(CLIPVisionConfig(**dataclasses.asdict(config)), dtype=dtype)


def _clip_init(key: jax.Array, params: PyTree, config: ImageEncoderConfig) -> PyTree:
    """Redraws the kernels with the deviations CLIP was trained from.

    transformers' Flax module draws them all with 0.01, with which a narrow tower starts out nearly
    blind: what the class token gathers from the patches vanishes.
    """
    width = config.hidden_size
    residual = (2 * config.num_hidden_layers) ** -0.5
    deviations = {
        "class_embedding": width**-0.5,
        "patch_embedding": 0.02,
        "position_embedding": 0.02,
        "q_proj": width**-0.5 * residual,
        "k_proj": width**-0.5 * residual,
        "v_proj": width**-0.5 * residual,
        "out_proj": width**-0.5,
        "fc1": (2 * width) ** -0.5,
        "fc2": width**-0.5 * residual,
        "visual_projection": width**-0.5,
    }
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    drawn = []
    for leaf_key, (path, leaf) in zip(jax.random.split(key, len(leaves)), leaves, strict=True):
        names = [entry.key for entry in path]
        deviation = next((deviations[name] for name in names if name in deviations), None)
        if deviation is not None and names[-1] != "bias":
            leaf = deviation * jax.random.normal(leaf_key, leaf.shape)
        drawn.append(leaf)
    return jax.tree_util.tree_unflatten(treedef, drawn)
