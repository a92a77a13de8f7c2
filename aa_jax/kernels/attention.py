"""Kernels of scaled dot-product attention, and which of them a call takes.

    xla       plain products around a float32 softmax; runs everywhere
    native    C++ of this package: CPUs, long sequences
    by_head   one head of one sample after the other: CPUs, long sequences, without a compiler
    short     products of batches of matrices: CPUs, short sequences
    cudnn     cuDNN's fused attention, by `jax.nn.dot_product_attention`: NVIDIA GPUs, 16 bits
    pallas    jax's splash attention: TPUs
    blocked   `xla` in blocks of queries, with the memory of a fused kernel: for plans

`attention` chooses among all but the last by the platform that a program is traced for, by dtype,
head dimension and lengths. Short sequences, such as the frames of a clip, take `xla` or `short`.
The environment variable AA_JAX_ATTENTION (`auto`, `xla`, `cudnn`, `pallas`, `native`, `by_head`)
makes long ones take one kernel and refuses what it cannot do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError
from aa_jax.kernels import fused_attention, plain_attention, sharding
from aa_jax.kernels.cpu import attention as cpu_attention
from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.attention import MOST_CHANNELS
from aa_jax.kernels.target import Target, on_one_cpu, shared_forms, target

LONG = 2**13
"""Scores per head (queries times keys) from which on there is a choice of kernels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """What decides which kernel a call can take.

    Attributes:
      device: what the program is traced for.
      divided: whether several devices divide the samples.
    """

    device: Target
    dtype: DTypeLike
    head_dim: int
    divided: bool = False


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An entry of the registry.

    Attributes:
      attend: (q, k, v, key lengths or None) -> the result.
      obstacle: why it cannot take a call; empty if it can.
    """

    attend: Callable[[Array, Array, Array, Array | None], Array]
    obstacle: Callable[[Call], str] = lambda call: ""


def _by_head_obstacle(call: Call) -> str:
    if call.device.platform != "cpu":
        return f"runs on CPUs, not on {call.device.platform}"
    # Devices that divide the samples cannot take them in turn.
    return "takes samples in turn, which devices divide" if call.divided else ""


def _native_obstacle(call: Call) -> str:
    if obstacle := _by_head_obstacle(call):
        return obstacle
    if call.head_dim > MOST_CHANNELS:
        return f"takes heads of up to {MOST_CHANNELS} channels, not of {call.head_dim}"
    return library.obstacle(library.Part.ATTENTION, call.dtype)


def _short_obstacle(call: Call) -> str:
    return "is for short sequences"


def _cudnn_obstacle(call: Call) -> str:
    if call.device.platform != "gpu" or not call.device.capability:
        return f"runs on NVIDIA GPUs, not on {call.device.platform}"
    if call.device.capability < 8:
        return f"needs compute capability 8.0, the GPU has {call.device.capability}"
    if jnp.dtype(call.dtype) not in (jnp.bfloat16, jnp.float16):
        return f"computes in bfloat16 or float16, not in {jnp.dtype(call.dtype)}"
    largest = 256 if call.device.capability >= 9 else 128
    if call.head_dim > largest or call.head_dim % 8:
        return f"takes heads of multiples of 8 up to {largest} channels, not of {call.head_dim}"
    return ""


def _pallas_obstacle(call: Call) -> str:
    if call.device.platform != "tpu":
        return f"runs on TPUs, not on {call.device.platform}"
    if jnp.dtype(call.dtype) not in (jnp.bfloat16, jnp.float32):
        return f"computes in bfloat16 or float32, not in {jnp.dtype(call.dtype)}"
    return ""


KERNELS = {
    "cudnn": Kernel(fused_attention.cudnn, _cudnn_obstacle),
    "pallas": Kernel(fused_attention.pallas, _pallas_obstacle),
    "native": Kernel(cpu_attention.native, _native_obstacle),
    "by_head": Kernel(cpu_attention.by_head, _by_head_obstacle),
    "short": Kernel(cpu_attention.short, _short_obstacle),
    "xla": Kernel(plain_attention.xla),
    "blocked": Kernel(plain_attention.blocked),
}
"""By name; a call takes the first that can, which `xla` always can."""

VARIABLE = "AA_JAX_ATTENTION"
CHOICES = ("auto", "xla", "cudnn", "pallas", "native", "by_head")

saves_results = jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.save_only_these_names(plain_attention.SAVED),
    fused_attention.saves_residuals,
)
"""Policy of `jax.checkpoint`: keeps what attention has computed, by whichever kernel."""


def call_for(q: Float[Array, "b s n d"]) -> Call:
    """The call of these queries in the program that is being traced."""
    return Call(device=target(), dtype=q.dtype, head_dim=q.shape[-1], divided=sharding.on_mesh())


def choose(call: Call, wanted: str = "auto") -> str:
    """The name of the kernel that a call over long sequences takes.

    Raises:
      ConfigError: the kernel wanted cannot take it.
    """
    if wanted == "auto":
        return next(name for name, kernel in KERNELS.items() if not kernel.obstacle(call))
    if obstacle := KERNELS[wanted].obstacle(call):
        raise ConfigError(f"{VARIABLE}={wanted}: the kernel {obstacle}; set it to auto")
    return wanted


def attention(
    q: Float[Array, "b s n d"],
    k: Float[Array, "b r n d"],
    v: Float[Array, "b r n d"],
    *,
    key_lengths: Int[Array, " b"] | None = None,
) -> Float[Array, "b s n d"]:
    """Scaled dot-product attention of n heads with a float32 softmax.

    The one place through which all attention goes, and where a kernel is chosen.

    Args:
      q: queries.
      k: keys.
      v: values.
      key_lengths: how many of its first keys a sample sees; None: all.

    Raises:
      ConfigError: AA_JAX_ATTENTION names no kernel, or one that cannot take this call.
    """
    is_long = q.shape[1] * k.shape[1] >= LONG
    short = "short" if on_one_cpu() else "xla"
    name = choose(call_for(q), _wanted()) if is_long else short
    return KERNELS[name].attend(q, k, v, key_lengths)


_using = ""


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Traces attention over long sequences with the kernel of that name, and `shared_forms`.

    Programs traced before keep theirs. `blocked` is for programs compiled on a CPU to learn what
    they need on other chips, `xla` for those whose FLOPs are counted.
    """
    global _using
    before, _using = _using, name
    try:
        with shared_forms():
            yield
    finally:
        _using = before


def _wanted() -> str:
    wanted = _using or os.environ.get(VARIABLE) or "auto"
    if not _using and wanted not in CHOICES:
        raise ConfigError(f"{VARIABLE}={wanted}: choose one of {', '.join(CHOICES)}")
    return wanted
