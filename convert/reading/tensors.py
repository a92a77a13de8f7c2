"""Arrays of a file by name, none of them read before it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
"""Numpy's dtypes by their names in safetensors files."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One array of a file, not read yet.

    Attributes:
      shape: its shape.
      dtype: numpy dtype; bfloat16 is `ml_dtypes.bfloat16`.
      read: reads it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray] = dataclasses.field(repr=False, compare=False)

    @classmethod
    def of(cls, array: np.ndarray | Tensor) -> Tensor:
        """A tensor around an array in memory; tensors stay as they are."""
        if isinstance(array, Tensor):
            return array
        return cls(array.shape, array.dtype, lambda: array)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def map(self, shape: tuple[int, ...], function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """What a function of the array will be, with its shape."""
        return Tensor(shape, self.dtype, lambda: function(self.read()))


class Source(Mapping[str, Tensor]):
    """The tensors of one file or folder.

    Attributes:
      path: what was opened.
      files: the files it consists of.
      config: the `config.json` beside the weights of a folder, or an empty dictionary.
      left_out: what else the file holds (training state), by name with the reason.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        *,
        files: tuple[Path, ...] = (),
        config: Mapping[str, Any] | None = None,
        left_out: Mapping[str, str] | None = None,
    ):
        self.path = path
        self.files = files or (path,)
        self.config = dict(config or {})
        self.left_out = dict(left_out or {})
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
