"""Reads the fixtures described in golden/PROVENANCE.md."""

import functools
import pathlib

import numpy as np

from aa_jax.models import torch_names

GOLDEN = pathlib.Path(__file__).parent / "golden"


@functools.cache
def load(case: str, name: str) -> dict[str, np.ndarray]:
    """All arrays of one file of a case."""
    with np.load(GOLDEN / case / f"{name}.npz") as arrays:
        return dict(arrays)


def load_modules(name: str) -> dict[str, np.ndarray]:
    return load("modules", name)


def group(name: str, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a file in `modules/` below a prefix."""
    prefix += "/"
    arrays = load_modules(name).items()
    return {key.removeprefix(prefix): x for key, x in arrays if key.startswith(prefix)}


def part(path: str) -> dict:
    """Our parameter tree of one module of the UNet, by its PyTorch path."""
    prefix = path + "."
    return torch_names.from_torch(
        {
            key.removeprefix(prefix): x.astype(np.float32)
            for key, x in load_modules("weights").items()
            if key.startswith(prefix)
        }
    )
