"""How activations lie on a mesh of devices, by the names of their axes.

Models name axes; which mesh axes a name stands for is said by flax's logical axis rules, which
training sets (`aa_jax.training.partitioning`). Without rules nothing here does anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree

CLIP = ("batch", "frames", "height", "width", "channels")
"""Axis names of a clip [b, t, h, w, c]."""
TOKENS = ("batch", "tokens", "channels")
"""Axis names of tokens [b, s, c] that all frames share: a reference's, a context's."""


def constrain(x: Array, *names: str) -> Array:
    """States how an activation lies; an axis of length one is never divided."""
    axes = tuple(name if size > 1 else None for name, size in zip(names, x.shape, strict=True))
    return nn.with_logical_constraint(x, axes)


def on_mesh() -> bool:
    """Whether the program being traced is for several devices that divide its activations."""
    return bool(nn.get_logical_axis_rules()) and jax.sharding.get_abstract_mesh().size > 1


def frames_to_space(x: Float[Array, "b t s c"]) -> Float[Array, "b t s2 c"]:
    """Where devices share the frames of a clip, exchanges all frames of a part of the tokens.

    One all-to-all: each device gives its frames of all tokens and gets all frames of its tokens.
    Tokens are filled up with zeros to a number that divides; `space_to_frames` drops these.
    """
    batch, frames = _mesh_axes()
    if frames is None:
        return x
    missing = -x.shape[2] % jax.sharding.get_abstract_mesh().shape[frames]

    def exchange(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return jax.lax.all_to_all(x, frames, split_axis=2, concat_axis=1, tiled=True)

    return jax.shard_map(exchange, in_specs=P(batch, frames), out_specs=P(batch, None, frames))(x)


def space_to_frames(x: Float[Array, "b t s2 c"], tokens: int) -> Float[Array, "b t s c"]:
    """Undoes `frames_to_space`, for clips of `tokens` tokens per frame."""
    batch, frames = _mesh_axes()
    if frames is None:
        return x

    def exchange(x: Array) -> Array:
        x = jax.lax.all_to_all(x, frames, split_axis=1, concat_axis=2, tiled=True)
        return x[:, :, :tokens]

    return jax.shard_map(exchange, in_specs=P(batch, None, frames), out_specs=P(batch, frames))(x)


def by_device(
    function: Callable[..., PyTree],
    *arrays: Array,
    shared: tuple[PyTree, ...] = (),
    check_vma: bool = True,
) -> PyTree:
    """Calls a function of samples, or frames of samples, on every device with its own ones.

    Args:
      function: (shared, arrays [b, ...]) -> arrays [b, ...].
      arrays: of the same samples.
      shared: first arguments, which every device gets whole.
      check_vma: as in `jax.shard_map`; kernels of libraries do not state how results vary.
    """
    if not on_mesh():
        return function(*shared, *arrays)
    batch, frames = _mesh_axes()
    axes = (*batch, frames) if frames else tuple(batch)
    mesh = jax.sharding.get_abstract_mesh()
    while len(arrays[0]) % math.prod(mesh.shape[axis] for axis in axes):
        axes = axes[:-1]  # samples without frames, such as references
    specs = (*[P()] * len(shared), *[P(axes)] * len(arrays))
    divided = jax.shard_map(function, in_specs=specs, out_specs=P(axes), check_vma=check_vma)
    return divided(*shared, *arrays)


def _mesh_axes() -> tuple[tuple[str, ...] | str | None, str | None]:
    """The mesh axes of batch and frames; None for what is not divided."""
    rules = dict(nn.get_logical_axis_rules())
    return rules.get("batch"), rules.get("frames")
