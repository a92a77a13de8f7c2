"""Names that mean the same: from the spellings of several projects to one per network.

Each rule here only renames; `convert.transfer` then checks that everything fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from convert import ConvertError

T = TypeVar("T")
Rules = Sequence[tuple[str, str]]

# diffusers before 0.18 named the VAE's attention projections otherwise.
_VAE: Rules = (
    (r"(.*\.attentions\.\d+)\.query\.(\w+)", r"\1.to_q.\2"),
    (r"(.*\.attentions\.\d+)\.key\.(\w+)", r"\1.to_k.\2"),
    (r"(.*\.attentions\.\d+)\.value\.(\w+)", r"\1.to_v.\2"),
    (r"(.*\.attentions\.\d+)\.proj_attn\.(\w+)", r"\1.to_out.0.\2"),
)

# diffusers' MotionAdapter; its one position table serves both attentions.
_ADAPTER: Rules = (
    (r"norm1\.(\w+)", r"norms.0.\1"),
    (r"norm2\.(\w+)", r"norms.1.\1"),
    (r"norm3\.(\w+)", r"ff_norm.\1"),
    (r"attn1\.(.*)", r"attention_blocks.0.\1"),
    (r"attn2\.(.*)", r"attention_blocks.1.\1"),
    (r"pos_embed\.pe", r"attention_blocks.0.pos_encoder.pe"),
)


def renamed(rules: Rules, key: str) -> str:
    """The key after the first rule that matches all of it; unchanged where none does."""
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, key):
            return match.expand(replacement)
    return key


def rename(tensors: Mapping[str, T], function: Callable[[str], str]) -> dict[str, T]:
    """Applies a renaming to all keys.

    Raises:
      ConvertError: two keys become the same.
    """
    out: dict[str, T] = {}
    origin: dict[str, str] = {}
    for key, value in tensors.items():
        new = function(key)
        if new in out:
            raise ConvertError(f"{origin[new]} and {key} are both {new}")
        out[new], origin[new] = value, key
    return out


def canonical(name: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """A network's state dict under the names that `aa_jax.models.torch_names` gives."""
    tensors = without_prefix(tensors, "module.")
    if name == "vae":
        return rename(tensors, lambda key: renamed(_VAE, key))
    if name == "motion_module":
        return rename(tensors, motion_key)
    return dict(tensors)


def motion_key(key: str) -> str:
    """AnimateDiff's name of a tensor that may carry the one of diffusers' MotionAdapter."""
    match = re.fullmatch(r"(.*\bmotion_modules\.\d+)\.(?!temporal_transformer\.)(.*)", key)
    if not match:
        return key
    module, rest = match.groups()
    if inner := re.fullmatch(r"(transformer_blocks\.\d+)\.(.*)", rest):
        rest = f"{inner[1]}.{renamed(_ADAPTER, inner[2])}"
    return f"{module}.temporal_transformer.{rest}"


def adapter_key(key: str) -> str:
    """diffusers' MotionAdapter name of a motion module's tensor; undoes `motion_key`."""
    key = key.replace(".temporal_transformer.", ".")
    head, separator, rest = key.rpartition(".attention_blocks.")
    if separator and rest.endswith("pos_encoder.pe"):
        return f"{head}.pos_embed.pe"
    if separator:
        index, _, rest = rest.partition(".")
        return f"{head}.attn{int(index) + 1}.{rest}"
    key = re.sub(r"\.norms\.(\d+)\.", lambda match: f".norm{int(match[1]) + 1}.", key)
    return key.replace(".ff_norm.", ".norm3.")


def without_prefix(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The tensors without a prefix that all of them carry (`module.` of data-parallel training)."""
    if tensors and all(key.startswith(prefix) for key in tensors):
        return {key.removeprefix(prefix): value for key, value in tensors.items()}
    return dict(tensors)
