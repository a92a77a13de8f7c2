"""Safetensors files written one tensor at a time, so that memory stays at the largest of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from convert import ConvertError
from convert.reading.tensors import DTYPES, Tensor

_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    allow_nonfinite: bool = True,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes a safetensors file in the tensors' own dtypes.

    Args:
      path: where to; the caller sees to it that half a file is never taken for a whole one.
      tensors: what to write; each is read when its turn comes and forgotten.
      allow_nonfinite: write NaN and infinite numbers too.
      metadata: texts for the file's header.
      progress: called with the bytes of every tensor written.

    Raises:
      ConvertError: a number is NaN or infinite, or a dtype has no name in safetensors.
    """
    # Wide dtypes first keeps every tensor aligned, as the format's own library does.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise ConvertError(f"{path.name}: {name} has the unsupported dtype {tensor.dtype}")
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in order:
            array = tensors[name].read()
            if (array.shape, array.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise AssertionError(f"{name}: {array.dtype} {array.shape}, not as announced")
            if not allow_nonfinite:
                _check_finite(path.stem, name, array)
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            progress(array.nbytes)


def _check_finite(network: str, name: str, array: np.ndarray) -> None:
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ConvertError(
            f"{network}: {name} holds {bad} NaN or infinite of {array.size} numbers; "
            "--allow-nonfinite converts it all the same"
        )
