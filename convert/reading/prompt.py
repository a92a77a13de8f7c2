"""What Stable Diffusion's text encoder makes of an empty prompt, which is all the text there is.

Nothing here reads text: the encoder runs once, while weights are converted, and is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from jaxtyping import Float

from aa_jax.config import PromptConfig
from aa_jax.models import torch_names
from convert import ConvertError
from convert.reading import families
from convert.reading.pieces import Piece, subfolder
from convert.reading.sources import open_source
from convert.reading.tensors import Source, Tensor

EMBEDS = "prompt_embeds"
"""The tensor of an encoded prompt, [1, n, d], as diffusers' pipelines name it."""

_PREFIXES = ("text_model.", "cond_stage_model.transformer.text_model.")
_HEAD_DIM = 64
"""Channels per head of every published CLIP."""


def find(path: Path) -> Path | Source | None:
    """Where a Stable Diffusion folder or file keeps its text encoder; None where it has none."""
    if path.is_dir():
        folder = path / "text_encoder"
        return folder if folder.is_dir() else None
    source = open_source(path)
    return source if families.has(source, rf"^{_PREFIXES[1]}") else None


def open_prompt(where: Path | Source) -> Piece:
    """The encoding of the empty prompt, or one that a file holds, as the network `prompt`.

    Args:
      where: CLIP's text encoder: its folder or file, a whole CLIP, a pipeline's folder or a
        single-file checkpoint; or a file that `export` wrote.

    Raises:
      ConvertError: it is anything else.
    """
    source = where if isinstance(where, Source) else open_source(subfolder(where, "text_encoder"))
    known = ("clip-text", "clip", "sd1-ldm", "prompt")
    families.require(source, source.path, known, "CLIP's text encoder or an encoded prompt")
    if EMBEDS in source:
        embeds = source[EMBEDS]
        if len(embeds.shape) != 3 or embeds.shape[0] != 1:
            raise ConvertError(
                f"{source.path}: {EMBEDS} has the shape {list(embeds.shape)} where [1, tokens, "
                "channels] is wanted"
            )
        tensor = embeds.map(embeds.shape[1:], lambda x: x[0])
        return Piece(source, {"embeds": tensor}, {}, PromptConfig(tokens=embeds.shape[1]))
    prefix = next((p for p in _PREFIXES if families.has(source, rf"^{p}")), None)
    if prefix is None:
        raise ConvertError(f"{source.path}: holds no text encoder")
    tensors = {
        "text_model." + key.removeprefix(prefix): tensor
        for key, tensor in source.items()
        if key.startswith(prefix)
    }
    embeds = encode_empty(tensors, source)
    ignored = {
        key: "the text encoder, run once" if key.startswith(prefix) else "not the text encoder"
        for key in source
    }
    tensor = Tensor.of(embeds)
    return Piece(source, {"embeds": tensor}, ignored, PromptConfig(tokens=len(embeds)))


def public(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network `prompt` as an exported file holds it."""
    embeds = tensors["embeds"]
    return {EMBEDS: embeds.map((1, *embeds.shape), lambda x: x[None])}


def encode_empty(tensors: Mapping[str, Tensor], source: Source) -> Float[np.ndarray, "n d"]:
    """Last hidden states, normed, of as many tokens as CLIP reads: a first one, then last ones.

    First and last are the last two tokens of its vocabulary; Stable Diffusion fills up with the
    last.
    """
    import jax
    import jax.numpy as jnp
    from transformers.models.clip.modeling_flax_clip import FlaxCLIPTextModule

    config = _architecture(tensors, source)
    module = FlaxCLIPTextModule(config)
    ids = np.full((1, config.max_position_embeddings), config.vocab_size - 1, np.int32)
    ids[0, 0] = config.vocab_size - 2
    positions = np.arange(ids.shape[1], dtype=np.int32)[None]
    inputs = (ids, np.ones_like(ids), positions)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))["params"]
        params = _params(shapes, tensors, source)
        states = jax.jit(module.apply)({"params": params}, *map(jnp.asarray, inputs))
    return np.asarray(states.last_hidden_state[0], np.float32)


def _architecture(tensors: Mapping[str, Tensor], source: Source) -> Any:
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    values = {**source.config, **source.config.get("text_config", {})}
    try:
        vocabulary, width = tensors["text_model.embeddings.token_embedding.weight"].shape
        positions = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        inner = tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ConvertError(f"{source.path}: its text encoder is incomplete ({error})") from None
    layers = {key.split(".")[3] for key in tensors if key.startswith("text_model.encoder.layers.")}
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=len(layers),
        num_attention_heads=values.get("num_attention_heads", max(width // _HEAD_DIM, 1)),
        max_position_embeddings=positions,
        hidden_act=values.get("hidden_act", "quick_gelu"),
        layer_norm_eps=values.get("layer_norm_eps", 1e-5),
    )


def _params(shapes: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Source) -> Any:
    flat = {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        key = torch_names.to_key(path)
        found = tensors[key].shape if key in tensors else None
        wanted = torch_names.torch_shape(path, leaf.shape)
        if found != wanted:
            raise ConvertError(
                f"{source.path}: {key} {'is missing' if found is None else list(found)} where "
                f"{list(wanted)} is wanted"
            )
        array = tensors[key].read().astype(np.float32)
        flat[path] = torch_names.transposed(path, array, to_torch=False)
    return traverse_util.unflatten_dict(flat)
