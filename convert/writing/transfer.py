"""From a state dict's tensors to one of our networks: all of them, and nothing else.

`plan` pairs every parameter of a network with its source tensor and reads nothing but position
tables; `network` reads the whole. Source names are those of diffusers (`UNet2DConditionModel`,
`AutoencoderKL`, `MotionAdapter`), transformers (`CLIPVisionModelWithProjection`), AnimateDiff and
MooreThreads/Moore-AnimateAnyone; what else there is, `convert.ldm` and `convert.spelling` rename
before.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from aa_jax import weights
from aa_jax.config import ModelConfig, MotionModuleConfig, PoseGuiderConfig
from aa_jax.models import torch_names
from aa_jax.models.motion_module import position_table
from convert import ConvertError
from convert.reading import spelling
from convert.reading.tensors import Tensor

Tensors = Mapping[str, Tensor]

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""What parameters may be stored as."""

IGNORED: dict[str, tuple[tuple[str, str], ...]] = {
    "vae": (),
    "image_encoder": (
        (r"vision_model\.embeddings\.position_ids", "a counter, constant here"),
        (r"(text_model|text_projection|logit_scale)\b.*", "CLIP's text side"),
    ),
    "reference_unet": (
        (r"(conv_norm_out|conv_out)\..*", "the ReferenceNet has no output layers"),
        (r".*\.motion_modules\..*", "the ReferenceNet has no motion modules"),
    ),
    "denoising_unet": ((r".*\.motion_modules\..*", "belongs to motion_module"),),
    "motion_module": (
        (r"(?!.*\.motion_modules\.).*", "belongs to denoising_unet"),
        (r".*\.pos_encoder\.pe", "a constant, equal to ours"),
    ),
    "pose_guider": (),
    "controlnet": (),
    "resnet": ((r"fc\.\w+", "the classifier"),),
    "resnet_projection": (),
    "reference_fusion": (),
    "ip_adapter": (),
    "prompt": (),
    "pose_controlnet": (),
}
"""What each network leaves out: regular expression of the whole name, and the reason."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the source's tensors.

    Attributes:
      network: name of ours.
      used: number of source tensors that became parameters.
      parameters: numbers in them.
      dtypes: names of their dtypes.
      ignored: reason by name of every tensor left out.
    """

    network: str
    used: int
    parameters: int
    dtypes: tuple[str, ...]
    ignored: Mapping[str, str]

    def __str__(self) -> str:
        reasons: dict[str, int] = {}
        for reason in self.ignored.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        size = f"{self.parameters / 1e6:.1f} M parameters, {', '.join(self.dtypes)}"
        lines = [f"{self.network}: {self.used} tensors, {size}"]
        lines += [f"  left out: {count} ({reason})" for reason, count in reasons.items()]
        return "\n".join(lines)


def network(
    name: str,
    model: ModelConfig,
    tensors: Mapping[str, np.ndarray | Tensor],
    *,
    ignore: Iterable[tuple[str, str]] = (),
) -> tuple[dict[str, Any], Report]:
    """One of our networks from a PyTorch state dict.

    Args:
      name: one of `aa_jax.config.NETWORKS`.
      model: the architecture; `motion_module.enabled` does not matter.
      tensors: the state dict; arrays in memory or tensors of an opened source.
      ignore: further tensors to leave out, as pairs of a regular expression that matches the whole
        name and the reason.

    Returns:
      The parameter tree, arrays in the source's dtypes, and what became of the source's tensors.

    Raises:
      ConvertError: tensors are missing, left over or mis-shaped, or a position table differs.
    """
    planned, report = plan(name, model, tensors, ignore=ignore)
    arrays = {path: tensor.read() for path, tensor in planned.items()}
    return traverse_util.unflatten_dict(arrays, sep="."), report


def plan(
    name: str,
    model: ModelConfig,
    tensors: Mapping[str, np.ndarray | Tensor],
    *,
    ignore: Iterable[tuple[str, str]] = (),
) -> tuple[dict[str, Tensor], Report]:
    """As `network`, with unread tensors by dotted path instead of a tree of arrays."""
    source = spelling.canonical(name, {key: Tensor.of(x) for key, x in tensors.items()})
    wanted = {torch_names.to_key(path): (path, shape) for path, shape in shapes(name, model)}
    rules = [(re.compile(pattern), reason) for pattern, reason in (*ignore, *IGNORED[name])]
    ignored, unexpected = {}, []
    for key in source:
        if key not in wanted:
            reason = next((reason for rule, reason in rules if rule.fullmatch(key)), None)
            ignored |= {key: reason} if reason else {}
            unexpected += [] if reason else [key]
    problems = _problems(source, wanted, unexpected)
    if problems:
        raise ConvertError(f"{name}: {'; '.join(problems)}")
    if name == "motion_module":
        check_position_tables(source, model.motion_module.max_positions)
    planned = {
        ".".join(path): _ours(source[key], path, shape) for key, (path, shape) in wanted.items()
    }
    report = Report(
        network=name,
        used=len(planned),
        parameters=sum(int(np.prod(tensor.shape)) for tensor in planned.values()),
        dtypes=tuple(sorted({str(tensor.dtype) for tensor in planned.values()})),
        ignored=ignored,
    )
    return planned, report


def shapes(name: str, model: ModelConfig) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Paths and shapes of a network's parameters.

    Raises:
      ConvertError: the architecture contradicts itself.
    """
    # Without what it does not depend on: equal networks then share a trace, which takes seconds.
    motion = MotionModuleConfig(enabled=False)
    if name == "motion_module":
        motion = dataclasses.replace(model.motion_module, enabled=True)
    of_pose = name in ("pose_guider", "pose_controlnet")
    guider = model.pose_guider if of_pose else PoseGuiderConfig()
    model = dataclasses.replace(model, motion_module=motion, pose_guider=guider)
    try:
        tree = weights.abstract_params(model, (name,))[name]
    except (ValueError, RuntimeError, ZeroDivisionError) as error:  # whatever layer trips first
        raise ConvertError(
            f"{name}: no network can be built from this architecture: {str(error).strip()[:200]}"
        ) from None
    return [(path, leaf.shape) for path, leaf in traverse_util.flatten_dict(tree).items()]


def _problems(source: Tensors, wanted: Mapping[str, Any], unexpected: list[str]) -> list[str]:
    problems = []
    if missing := [key for key in wanted if key not in source]:
        problems.append(f"missing {weights.some(missing)}")
    if unexpected:
        problems.append(f"unexpected {weights.some(unexpected)}")
    misshaped, odd = [], []
    for key, (path, shape) in wanted.items():
        if key in source:
            expected = torch_names.torch_shape(path, shape)
            if _without_ones(source[key].shape) != _without_ones(expected):
                found = source[key].shape
                misshaped.append(f"{key} {list(found)} where {list(expected)} is wanted")
            if source[key].dtype.name not in DTYPES:
                odd.append(f"{key} ({source[key].dtype})")
    if misshaped:
        problems.append(f"mis-shaped {weights.some(misshaped)}")
    if odd:
        problems.append(f"neither float64, float32, float16 nor bfloat16: {weights.some(odd)}")
    return problems


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    # A 1x1 convolution and a dense layer are the same numbers: [out, in, 1, 1] and [out, in].
    return shape[:2] if shape[2:] == (1, 1) else shape


def _ours(tensor: Tensor, path: tuple[str, ...], shape: tuple[int, ...]) -> Tensor:
    def convert(x: np.ndarray) -> np.ndarray:
        x = x.reshape(torch_names.torch_shape(path, shape))
        return torch_names.transposed(path, x, to_torch=False)

    return tensor.map(shape, convert)


def check_position_tables(source: Mapping[str, Tensor], positions: int) -> None:
    """Compares a motion module's position tables [1, t, c] with the one ours compute.

    Raises:
      ConvertError: their length is another one or a number differs by more than its rounding.
    """
    for key, tensor in source.items():
        if not key.endswith(torch_names.POSITION_TABLE):
            continue
        rows = tensor.shape[-2] if len(tensor.shape) == 3 else None
        if rows != positions:
            raise ConvertError(
                f"motion_module: {key} has the shape {list(tensor.shape)} where {positions} "
                "positions are wanted (model.motion_module.max_positions); AnimateDiff v1 has 24, "
                "v2, v3 and Moore-AnimateAnyone have 32"
            )
        found = tensor.read().astype(np.float64)
        expected = position_table(rows, tensor.shape[-1])[None]
        # Projects compute the angles in float32 (1e-5 at 32 positions) and may store rounded.
        tolerance = 1e-4 + {"float16": 2**-11, "bfloat16": 2**-8}.get(tensor.dtype.name, 0.0)
        error = np.abs(found - expected).max()
        if not error <= tolerance:
            raise ConvertError(
                f"motion_module: {key} differs from the sinusoidal table by {error:.1e}; only "
                "weights with AnimateDiff's position encoding can be used"
            )
