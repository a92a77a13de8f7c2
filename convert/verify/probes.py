"""Single modules of the denoising UNet on inputs of their own.

Once with ordinary and once with very small inputs, on which the norms' epsilons show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aa_jax.config import ModelConfig
from aa_jax.models import torch_names
from aa_jax.models.animate_anyone import denoising_params
from aa_jax.models.attention import FeedForward
from aa_jax.models.motion_module import MotionModule, TemporalTransformerBlock
from aa_jax.models.normalization import GroupNorm, LayerNorm
from aa_jax.models.resnet import Downsample, ResnetBlock, Upsample
from aa_jax.models.transformer import Transformer2D
from aa_jax.models.unet import TimestepEmbedding, timestep_features
from convert.verify.cases import Case, CaseError
from convert.verify.layout import channels_first, channels_last

TOLERANCE = {"atol": 5e-5}

# (case's inputs, tag, parameters, model) -> the module's output in PyTorch's axes
Probe = Callable[["Inputs", str, Any, ModelConfig], Any]


class Inputs:
    """The arrays `in/...` of the case's probes."""

    def __init__(self, case: Case, file: str):
        self._case, self._file = case, file

    def __call__(self, name: str) -> np.ndarray:
        return self._case.read(self._file, f"in/{name}")

    def clip(self, name: str) -> np.ndarray:
        """A clip [b, c, t, h, w] with channels last."""
        return channels_last(self(name))


def verify(case: Case, model: ModelConfig, params: Any) -> None:
    """Compares every array `out/<module>/<tag>`."""
    file = case.field("module_probes", "file")
    inputs, tree = Inputs(case, file), denoising_params(params)
    for key in case.arrays(file):
        if not key.startswith("out/"):
            continue
        with case.attempt(f"{file}:{key}"):
            path, _, tag = key.removeprefix("out/").partition("/")
            probe = next((f for rule, f in _PROBES.items() if re.fullmatch(rule, path)), None)
            if probe is None:
                raise CaseError(f"{file}:{key}: no module is probed so")
            case.compare(file, key, probe(inputs, tag, _below(tree, path), model), **TOLERANCE)


def _below(tree: Any, path: str) -> Any:
    if path == "time_proj":  # has no parameters
        return {}
    for name in torch_names.to_path(f"{path}.bias", 1)[:-1]:
        if name not in tree:
            raise CaseError(f"module_probes: the model has no {path}")
        tree = tree[name]
    return tree


def _apply(module: nn.Module, params: Any, *inputs: Any) -> jax.Array:
    return jax.jit(lambda params, *inputs: module.apply({"params": params}, *inputs))(
        params, *(jnp.asarray(x) for x in inputs)
    )


def _resnet(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    width = params["conv1"]["kernel"].shape[-1]
    over_frames = model.unet.group_norm_scope == "over_frames"
    module = ResnetBlock(width, model.unet.norm_num_groups, over_frames)
    return channels_first(_apply(module, params, inputs.clip(f"x_{tag}"), inputs("temb")))


def _attention(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    module = Transformer2D(model.unet.num_attention_heads, model.unet.norm_num_groups)

    def run(params, x, context):
        return module.apply({"params": params}, x, context)[0]

    return channels_first(jax.jit(run)(params, inputs.clip(f"x_{tag}"), inputs("enc")))


def _motion_module(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    module = MotionModule(model.motion_module)
    return channels_first(_apply(module, params, inputs.clip(f"x_{tag}")))


def _temporal_block(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    # The sequences [t, s, c] are the frames of one sample; ours are [b, s, t, c].
    tokens = inputs(f"tokens_{tag}").swapaxes(0, 1)[None]
    output = _apply(TemporalTransformerBlock(model.motion_module), params, tokens)
    return output[0].swapaxes(0, 1)


def _on_tokens(module: nn.Module) -> Probe:
    return lambda inputs, tag, params, model: _apply(module, params, inputs(f"tokens_{tag}"))


def _norm_out(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    over_frames = model.unet.group_norm_scope == "over_frames"
    module = GroupNorm(model.unet.norm_num_groups, 1e-5, over_frames)
    return channels_first(_apply(module, params, inputs.clip(f"y0_{tag}")))


def _upsampler(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    tag, _, size = tag.partition("_size_")  # frames, height, width
    size = tuple(int(side) for side in size.split("_")[1:]) if size else None

    def run(params, x):
        return Upsample().apply({"params": params}, x, size)

    return channels_first(jax.jit(run)(params, inputs.clip(f"x_{tag}")))


def _downsampler(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    return channels_first(_apply(Downsample(), params, inputs.clip("y0_down")))


def _time_features(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    timesteps = jnp.asarray(inputs("timesteps").astype(np.int32))
    return timestep_features(timesteps, model.unet.block_out_channels[0])


def _time_embedding(inputs: Inputs, tag: str, params: Any, model: ModelConfig) -> Any:
    module = TimestepEmbedding(4 * model.unet.block_out_channels[0])
    return _apply(module, params, _time_features(inputs, tag, {}, model))


_PROBES: dict[str, Probe] = {
    r".*\.resnets\.\d+": _resnet,
    r".*\.attentions\.\d+": _attention,
    r".*\.motion_modules\.\d+": _motion_module,
    r".*\.temporal_transformer\.transformer_blocks\.\d+": _temporal_block,
    r".*\.norms\.\d+": _on_tokens(LayerNorm()),
    r".*\.(norm[123]|ff_norm)": _on_tokens(LayerNorm()),
    r".*\.ff": _on_tokens(FeedForward()),
    r"conv_norm_out": _norm_out,
    r".*\.upsamplers\.0": _upsampler,
    r".*\.downsamplers\.0": _downsampler,
    r"time_proj": _time_features,
    r"time_embedding": _time_embedding,
}
"""How a module is probed, by its PyTorch path; the first rule that matches counts."""
