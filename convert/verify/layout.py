"""PyTorch's axes and names, and ours."""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import Array, Float

from aa_jax.models import torch_names

A = TypeVar("A", bound=Array)


def channels_last(x: Float[A, "b c *size"]) -> Float[A, "b *size c"]:
    """[b, c, t, h, w] to [b, t, h, w, c], and [b, c, h, w] likewise."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x: Float[A, "b *size c"]) -> Float[A, "b c *size"]:
    """Undoes `channels_last`."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def state_dict_name(path: str) -> str:
    """Name of a module in a state dict: `mid_block/resnets_1` is `mid_block.resnets.1`."""
    return torch_names.to_key((*path.split("/"), "bias")).removesuffix(".bias")
