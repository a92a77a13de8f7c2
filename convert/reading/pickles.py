"""PyTorch's pickled files, read without ever running what they ask for.

`torch.load(weights_only=True)` builds tensors and plain containers only. Genuine checkpoints of
Stable Diffusion and AnimateDiff also name a few harmless classes of their training framework; those
become inert stand-ins. Anything else is refused.
"""

from __future__ import annotations

import collections
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from convert import ConvertError
from convert.reading.tensors import Tensor

INERT_GLOBALS = (
    "_codecs.encode",
    "argparse.Namespace",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning_fabric.utilities.data.AttributeDict",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.enums.GradClipAlgorithmType",
    "typing.Any",
)
"""Classes and functions that published checkpoints name beside their weights, as pickled."""

PLAIN_GLOBALS = {
    "builtins.dict": dict,
    "builtins.float": float,
    "builtins.int": int,
    "builtins.list": list,
    "builtins.str": str,
    "collections.defaultdict": lambda *_: collections.OrderedDict(),  # all torch lets be filled
}
"""Plain types that such checkpoints name too, and what they become."""

NESTS = ("state_dict", "model_state_dict", "model", "module")
"""Entries under which a checkpoint may keep its weights."""

GROUPS = ("image_proj", "ip_adapter")
"""Entries that group an IP-Adapter's weights."""


class _Inert:
    """Stands where a checkpoint names one of `INERT_GLOBALS`; takes anything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and what else the file holds, by name with the reason to leave it out.

    Raises:
      ConvertError: torch is not installed; the file is truncated, corrupt, or would run code.
    """
    try:
        import torch
    except ImportError:
        raise ConvertError(
            f"{path}: reading it needs PyTorch; pip install 'aa_jax[convert]'"
        ) from None
    state, left_out = _state_dict(path, _load(path, torch), torch)
    return {name: _tensor(path, name, x) for name, x in state.items()}, left_out


def _load(path: Path, torch: Any) -> Any:
    allowed = [(type(name, (_Inert,), {}), name) for name in INERT_GLOBALS]
    allowed += [(plain, name) for name, plain in PLAIN_GLOBALS.items()]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except MemoryError:
        raise
    except Exception as error:  # broken bytes provoke whatever they hit upon
        if name := re.search(r"GLOBAL (\S+)", str(error)):
            raise ConvertError(
                f"{path}: refused: it is a pickle that would run {name[1]}, which is no part of "
                "any weights we know; look for a safetensors version"
            ) from None
        unpickling = isinstance(error, pickle.UnpicklingError | EOFError)
        reason = "" if unpickling else f" ({' '.join(str(error).split())[:100]})"
        raise ConvertError(f"{path}: truncated or no PyTorch weights{reason}") from None


def _state_dict(path: Path, loaded: Any, torch: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors of what was loaded, unnested, and the reasons to leave out the rest."""
    if not isinstance(loaded, Mapping):
        raise ConvertError(f"{path}: holds a {type(loaded).__name__}, not named tensors")
    left_out: dict[str, str] = {}
    while nest := next((n for n in NESTS if isinstance(loaded.get(n), Mapping)), None):
        left_out |= {str(name): "training state" for name in loaded if name != nest}
        loaded = loaded[nest]
    state = {}
    for name, value in _ungrouped(loaded).items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            state[name] = value
        else:
            left_out[str(name)] = "no tensor"
    if not state:
        raise ConvertError(f"{path}: holds no named tensors")
    return state, left_out


def _ungrouped(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """`{"image_proj": {"norm.bias": x}}` as `{"image_proj.norm.bias": x}`."""
    out: dict[str, Any] = {}
    for name, value in loaded.items():
        if name in GROUPS and isinstance(value, Mapping):
            out |= {f"{name}.{key}": x for key, x in value.items()}
        else:
            out[name] = value
    return out


def _tensor(path: Path, name: str, tensor: Any) -> Tensor:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise ConvertError(f"{path}: {name} is a sparse, quantized or complex tensor")
    tensor = tensor.detach()
    name_of_dtype = str(tensor.dtype).removeprefix("torch.")
    if name_of_dtype in _BEYOND_NUMPY:
        dtype = np.dtype(getattr(ml_dtypes, name_of_dtype))
        bits = torch.uint16 if dtype.itemsize == 2 else torch.uint8
        # The bits travel as integers.
        return Tensor(tuple(tensor.shape), dtype, lambda: tensor.view(bits).numpy().view(dtype))
    try:
        dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
    except TypeError:
        raise ConvertError(f"{path}: {name} has the unsupported dtype {name_of_dtype}") from None
    return Tensor(tuple(tensor.shape), dtype, tensor.numpy)


_BEYOND_NUMPY = (
    *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
"""Dtypes of torch, under the same names in `ml_dtypes`, that numpy itself lacks."""
