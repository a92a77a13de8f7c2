"""Files of weights as lazy mappings from tensor name to `Tensor`, whatever their format.

    tensors = open_source(Path("v1-5-pruned-emaonly.safetensors"))
    tensors["model.diffusion_model.out.2.bias"].read()      # reads this one tensor

Formats: safetensors, single or sharded; PyTorch's `.ckpt`, `.pth`, `.bin` (zip archives are mapped
into memory, older ones read whole); folders of diffusers and transformers. The content decides, not
the name's ending. Pickles go through `torch.load(weights_only=True)` and so never run code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from convert import ConvertError
from convert.reading import pickles
from convert.reading.tensors import DTYPES, Source, Tensor

FOLDER_NAMES = tuple(
    f"{stem}{variant}{ending}"
    for ending in (".safetensors", ".bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)
"""Weights files of a diffusers or transformers folder, best first."""

INDEX_NAMES = tuple(
    f"{stem}{ending}.index{variant}.json"
    for ending in (".safetensors", ".bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)
"""Tables of sharded weights in such a folder, best first."""


SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
"""Usual endings of weights files."""


def open_source(path: Path) -> Source:
    """Opens a file or folder of weights; tensors are read when asked for.

    Args:
      path: a weights file, the index of a sharded one, or a folder that holds either.

    Raises:
      ConvertError: there is nothing to read, or it is truncated, no weights file, or a pickle with
        anything but tensors and plain values in it.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ConvertError(f"{path}: no such file")
    if path.name.endswith(".json"):
        return _open_index(path)
    return _open_file(path)


def folder_weights(path: Path) -> Path | None:
    """The weights file, or the index of several, in a diffusers or transformers folder."""
    names = [*FOLDER_NAMES, *INDEX_NAMES]
    return next((path / name for name in names if (path / name).exists()), None)


def _open_folder(path: Path) -> Source:
    found = folder_weights(path)
    if found is None:
        expected = "diffusion_pytorch_model.safetensors, model.safetensors or pytorch_model.bin"
        raise ConvertError(f"{path}: no weights in this folder; expected {expected}")
    source = open_source(found)
    config = path / "config.json"
    values = _read_json(config) if config.exists() else {}
    return Source(path, source, files=source.files, config=values, left_out=source.left_out)


def _open_index(path: Path) -> Source:
    table = _read_json(path).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise ConvertError(f"{path}: no index of sharded weights; it has no weight_map")
    shards: dict[str, Source] = {}
    for name in sorted(set(table.values())):
        if Path(name).name != name:
            raise ConvertError(f"{path}: shard {name!r} lies outside of the folder")
        shards[name] = open_source(path.parent / name)
    for name, shard in table.items():
        if name not in shards[shard]:
            raise ConvertError(f"{path.parent / shard}: has no {name}, which the index promises")
    files = (path, *(file for shard in shards.values() for file in shard.files))
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    return Source(path, tensors, files=files)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConvertError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConvertError(f"{path}: holds no JSON object")
    return values


def _open_file(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ConvertError(f"{path}: cannot be read: {error.strerror}") from None
    if head.startswith(b"version https://git-lfs"):
        raise ConvertError(f"{path}: a Git LFS pointer, not the weights; fetch them (git lfs pull)")
    if head.startswith((b"PK\x03\x04", b"\x80")):
        tensors, left_out = pickles.load(path)
        return Source(path, tensors, left_out=left_out)
    if head[8:9] == b"{":
        return Source(path, _open_safetensors(path))
    what = "empty" if not head else "neither a safetensors nor a PyTorch file"
    raise ConvertError(f"{path}: {what}; download it again")


# --- safetensors --------------------------------------------------------------------------------


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors

    try:
        file = safetensors.safe_open(path, framework="np")
    except (OSError, safetensors.SafetensorError) as error:
        raise ConvertError(f"{path}: truncated or no safetensors file ({error})") from None

    def tensor(name: str) -> Tensor:
        part = file.get_slice(name)
        dtype = DTYPES.get(part.get_dtype())
        if dtype is None:
            raise ConvertError(f"{path}: {name} has the unsupported dtype {part.get_dtype()}")
        return Tensor(tuple(part.get_shape()), np.dtype(dtype), lambda: read(name))

    def read(name: str) -> np.ndarray:
        try:
            return file.get_tensor(name)
        except AttributeError:  # numpy has no float8 of its own
            raise ConvertError(f"{path}: {name} is float8; use the version in float16") from None

    return {name: tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
