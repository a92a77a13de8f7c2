"""Motion modules of AnimateDiff: their architecture from their tensors, and LoRAs merged in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from aa_jax.config import MotionModuleConfig
from convert import ConvertError
from convert.reading import architectures, families, spelling
from convert.reading.tensors import Source, Tensor

_LORA = re.compile(
    r"(?:unet\.|base_model\.model\.)*"
    r"(?P<layer>.*?)(?:\.processor)?\.(?P<projection>to_q|to_k|to_v|to_out(?:\.0)?)"
    r"(?:_lora\.|\.lora\.|\.lora_|_lora_|\.)(?P<side>down|up|A|B|alpha)(?:\.weight)?"
)


def architecture(source: Source, base: MotionModuleConfig) -> MotionModuleConfig:
    """What a motion module's file says about its architecture; numbers of heads and groups from
    the folder's `config.json`, or else from `base`, as no tensor tells them.

    Raises:
      ConvertError: the numbers of layers or the lengths of the position tables contradict.
    """
    if source.config:
        base = architectures.motion_adapter(source.config, f"{source.path}/config.json")
    tensors = spelling.canonical("motion_module", source)
    blocks = _count(tensors, r"transformer_blocks\.(\d+)\.")
    layers = _count(tensors, r"attention_blocks\.(\d+)\.")
    rows = families.motion_positions(tensors)
    return dataclasses.replace(
        base,
        enabled=True,
        num_transformer_blocks=blocks or base.num_transformer_blocks,
        num_attention_layers=layers or base.num_attention_layers,
        max_positions=rows or base.max_positions,
        mid_block=families.has(tensors, r"^mid_block\..*motion_modules\."),
    )


def group_norm_scope(config: MotionModuleConfig) -> str:
    """`model.unet.group_norm_scope` of the UNet that motion modules were trained in.

    AnimateDiff v1 pooled the statistics of GroupNorm over all frames of a clip.
    """
    v1 = (config.max_positions, config.mid_block) == (24, False)
    return "over_frames" if v1 else "per_frame"


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    found = {
        int(match[1])
        for key in tensors
        if ".motion_modules." in key and (match := re.search(pattern, key))
    }
    return len(found)


def merged(tensors: Mapping[str, Tensor], lora: Source, scale: float) -> dict[str, Tensor]:
    """A motion module with a LoRA added: `weight + scale * up @ down` in float32, then rounded.

    Args:
      tensors: the motion module under any of its spellings.
      lora: the LoRA, under AnimateDiff's, diffusers' or PEFT's names.
      scale: its strength; times alpha / rank where the file holds an alpha.

    Raises:
      ConvertError: the LoRA is none for these motion modules.
    """
    families.require(lora, lora.path, ("motion-lora",), "a motion LoRA")
    out = spelling.canonical("motion_module", tensors)
    for key, sides in _pairs(lora).items():
        if sides.keys() - {"alpha"} != {"down", "up"}:
            raise ConvertError(f"{lora.path}: {key} has only its {' and '.join(sorted(sides))}")
        if key not in out:
            raise ConvertError(f"{lora.path}: changes {key}, which these motion modules lack")
        down, up, weight = sides["down"], sides["up"], out[key]
        if (up.shape[0], down.shape[-1], up.shape[-1]) != (*weight.shape, down.shape[0]):
            raise ConvertError(
                f"{lora.path}: {key}: {list(up.shape)} times {list(down.shape)} is not the shape "
                f"{list(weight.shape)}"
            )
        out[key] = _sum(weight, up, down, sides.get("alpha"), scale)
    return out


def _pairs(lora: Source) -> dict[str, dict[str, Tensor]]:
    """The two factors of every changed weight, by the weight's name."""
    sides = {"A": "down", "B": "up"}
    pairs: dict[str, dict[str, Tensor]] = {}
    for key in lora:
        match = _LORA.fullmatch(key.replace(".default.", "."))
        if not match:
            raise ConvertError(f"{lora.path}: unexpected {key}")
        projection = "to_out.0" if match["projection"].startswith("to_out") else match["projection"]
        weight = spelling.motion_key(f"{match['layer']}.{projection}.weight")
        pairs.setdefault(weight, {})[sides.get(match["side"], match["side"])] = lora[key]
    return pairs


def _sum(weight: Tensor, up: Tensor, down: Tensor, alpha: Tensor | None, scale: float) -> Tensor:
    def add(x: np.ndarray) -> np.ndarray:
        factor = scale
        if alpha is not None:
            factor *= float(alpha.read()) / down.shape[0]
        change = up.read().astype(np.float32) @ down.read().astype(np.float32)
        return (x.astype(np.float32) + np.float32(factor) * change).astype(x.dtype)

    return weight.map(weight.shape, add)
