"""Kernels of scaled dot-product attention, and which of them a call takes.

    xla           plain products around a float32 softmax; runs everywhere
    native        C++ of this package: CPUs, long sequences
    by_head       one head of one sample after the other: CPUs, long sequences, without a compiler
    native_short  C++ of this package: CPUs, short sequences
    short         products of batches of matrices: CPUs, short sequences, without a compiler
    cudnn         cuDNN's fused attention, by `jax.nn.dot_product_attention`: NVIDIA GPUs, 16 bits
    pallas        jax's splash attention: TPUs
    blocked       `xla` in blocks of queries, with the memory of a fused kernel: for plans

`attention` chooses among all but the last by the platform that a program is traced for, by dtype,
head dimension and lengths. Short sequences, such as the frames of a clip, take `xla` or
one of the two for them.
The environment variable AA_JAX_ATTENTION (`auto`, `xla`, `cudnn`, `pallas`, `native`, `by_head`)
makes long ones take one kernel and refuses what it cannot do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError
from aa_jax.models import cpu_attention, sharding
from aa_jax.models.cpu_attention import SAVED, lengths_of, masked, scaled
from aa_jax.native import library
from aa_jax.native.attention import FEWEST_SHORT_CHANNELS, MOST_CHANNELS, SHORT

LONG = 2**13
"""Scores per head (queries times keys) from which on there is a choice of kernels."""

BLOCK = 512
"""Queries, and keys, that a kernel takes at once."""

TILE = 128
"""What fused kernels want lengths to be multiples of."""

# --- kernels ------------------------------------------------------------------------------------


def xla(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """All heads of all samples at once."""
    return checkpoint_name(_plain(q, k, v, key_lengths), SAVED)


def _plain(q: Array, k: Array, v: Array, key_lengths: Array | None) -> Array:
    logits = jnp.einsum("bsnd,brnd->bnsr", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(masked(logits, key_lengths), axis=-1).astype(v.dtype)
    return jnp.einsum("bnsr,brnd->bsnd", weights, v)


def blocked(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """One block of queries of one sample after the other, on every device for its own samples.

    Takes the memory of the fused kernels, not their time.
    """
    key_lengths = lengths_of(k, key_lengths)
    block = math.gcd(q.shape[1], BLOCK)

    def one_sample(inputs: tuple[Array, ...]) -> Array:
        q, k, v, length = (x[None] for x in inputs)

        @jax.checkpoint
        def one_block(q: Array) -> Array:
            return _plain(q, k, v, length)

        blocks = jax.lax.map(one_block, rearrange(q, "1 (i s) n d -> i 1 s n d", s=block))
        return rearrange(blocks, "i 1 s n d -> (i s) n d")

    def all_samples(*inputs: Array) -> Array:
        return jax.lax.map(one_sample, inputs)

    return checkpoint_name(sharding.by_device(all_samples, q, k, v, key_lengths), SAVED)


def cudnn(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """cuDNN's fused attention.

    On Hopper the backward pass of lengths that are no multiple of 128 can give NaN, because the
    last tile is not masked; such calls get padded keys and a mask of lengths.
    """
    own = k.shape[1]
    if key_lengths is None and (own % TILE or q.shape[1] % TILE):
        key_lengths = jnp.full(len(k), own)
    k, v = (_padded(x, TILE) for x in (k, v))
    lengths = () if key_lengths is None else (key_lengths.astype(jnp.int32),)

    def attend(q: Array, k: Array, v: Array, *lengths: Array) -> Array:
        seen = lengths[0] if lengths else None
        return jax.nn.dot_product_attention(
            q, k, v, key_value_seq_lengths=seen, implementation="cudnn"
        )

    # No checkpoint_name: see `saves_residuals`.
    return sharding.by_device(attend, q, k, v, *lengths, check_vma=False)


def pallas(
    q: Array, k: Array, v: Array, key_lengths: Array | None = None, *, interpret: bool = False
) -> Array:
    """Splash attention, without a mask of its own.

    Args:
      q: queries [b, s, n, d].
      k: keys [b, r, n, d].
      v: values [b, r, n, d].
      key_lengths: how many of its first keys a sample sees [b]; None: all.
      interpret: computes what the kernel would, on any platform.
    """
    queries, keys = q.shape[1], k.shape[1]
    q = scaled(q)  # which the kernel does not do
    q, k, v = (rearrange(_padded(x, TILE), "b s n d -> b n s d") for x in (q, k, v))
    if key_lengths is None and k.shape[2] != keys:
        key_lengths = jnp.full(len(k), keys)
    lengths = () if key_lengths is None else (key_lengths,)

    def attend(q: Array, k: Array, v: Array, *lengths: Array) -> Array:
        one = functools.partial(_splash, interpret=interpret)
        return jax.vmap(one)(q, k, v, *lengths)

    out = sharding.by_device(attend, q, k, v, *lengths, check_vma=False)
    return rearrange(out, "b n s d -> b s n d")[:, :queries]


def _splash(q: Array, k: Array, v: Array, key_length: Array | None = None, *, interpret: bool):
    """Splash attention of one sample; lengths are multiples of `TILE`."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel,
        splash_attention_mask,
    )

    heads, queries, keys = *q.shape[:2], k.shape[1]
    block_q, block_kv = _block(queries), _block(keys)
    kernel = splash_attention_kernel.make_splash_mha_single_device(
        splash_attention_mask.MultiHeadMask(
            [splash_attention_mask.FullMask((queries, keys))] * heads
        ),
        block_sizes=splash_attention_kernel.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_q_dq=block_q,
            block_kv_dq=block_kv,
        ),
        residual_checkpoint_name=SAVED,
        interpret=interpret,
    )
    if key_length is None:
        return kernel(q, k, v)
    # A query sees keys of its own segment.
    hidden = (jnp.arange(keys) >= key_length).astype(jnp.int32)
    segments = splash_attention_kernel.SegmentIds(jnp.zeros(queries, jnp.int32), hidden)
    return kernel(q, k, v, segments)


def _block(length: int) -> int:
    """The largest block of whole tiles, up to `BLOCK`, that divides a length."""
    return max(n for n in range(TILE, BLOCK + 1, TILE) if length % n == 0)


def _padded(x: Array, multiple: int) -> Array:
    """Zeros after the tokens [b, s, n, d] up to a multiple."""
    missing = -x.shape[1] % multiple
    return jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else x


def saves_residuals(primitive: Any, *_: Any, **__: Any) -> bool:
    """Policy of `jax.checkpoint`: saves what cuDNN's backward pass reads of its forward pass.

    Both are results of one primitive, inside jax's own rule of differentiation where no name can
    be given to them. Without this the backward pass runs the forward kernel again.
    """
    return primitive.name == "dot_product_attention_fwd_wrapper"


# --- the choice ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """What decides which kernel a call can take.

    Attributes:
      platform: `cpu`, `gpu`, `tpu`: what the program is traced for.
      capability: CUDA compute capability of the GPUs, such as 9.0; 0: they are not NVIDIA's.
      divided: whether several devices divide the samples.
    """

    platform: str
    capability: float = 0.0
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
    if call.platform != "cpu":
        return f"runs on CPUs, not on {call.platform}"
    # Devices that divide the samples cannot take them in turn.
    return "takes samples in turn, which devices divide" if call.divided else ""


def _native_obstacle(call: Call) -> str:
    if obstacle := _by_head_obstacle(call):
        return obstacle
    if obstacle := library.dtype_obstacle(call.dtype):
        return obstacle
    if call.head_dim > MOST_CHANNELS:
        return f"takes heads of up to {MOST_CHANNELS} channels, not of {call.head_dim}"
    return library.obstacle()


def _short_obstacle(call: Call) -> str:
    return "is for short sequences"


def _cudnn_obstacle(call: Call) -> str:
    if call.platform != "gpu" or not call.capability:
        return f"runs on NVIDIA GPUs, not on {call.platform}"
    if call.capability < 8:
        return f"needs compute capability 8.0, the GPU has {call.capability}"
    if jnp.dtype(call.dtype) not in (jnp.bfloat16, jnp.float16):
        return f"computes in bfloat16 or float16, not in {jnp.dtype(call.dtype)}"
    largest = 256 if call.capability >= 9 else 128
    if call.head_dim > largest or call.head_dim % 8:
        return f"takes heads of multiples of 8 up to {largest} channels, not of {call.head_dim}"
    return ""


def _pallas_obstacle(call: Call) -> str:
    if call.platform != "tpu":
        return f"runs on TPUs, not on {call.platform}"
    if jnp.dtype(call.dtype) not in (jnp.bfloat16, jnp.float32):
        return f"computes in bfloat16 or float32, not in {jnp.dtype(call.dtype)}"
    return ""


KERNELS = {
    "cudnn": Kernel(cudnn, _cudnn_obstacle),
    "pallas": Kernel(pallas, _pallas_obstacle),
    "native": Kernel(cpu_attention.native, _native_obstacle),
    "by_head": Kernel(cpu_attention.by_head, _by_head_obstacle),
    "native_short": Kernel(cpu_attention.native_short, _short_obstacle),
    "short": Kernel(cpu_attention.short, _short_obstacle),
    "xla": Kernel(xla),
    "blocked": Kernel(blocked),
}
"""By name; a call takes the first that can, which `xla` always can."""

VARIABLE = "AA_JAX_ATTENTION"
CHOICES = ("auto", "xla", "cudnn", "pallas", "native", "by_head")


def call_for(q: Float[Array, "b s n d"]) -> Call:
    """The call of these queries in the program that is being traced."""
    platform, capability = _target()
    return Call(
        platform=platform,
        capability=capability,
        dtype=q.dtype,
        head_dim=q.shape[-1],
        divided=sharding.on_mesh(),
    )


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
    name = choose(call_for(q), _wanted()) if is_long else _choose_short(q, k)
    return KERNELS[name].attend(q, k, v, key_lengths)


def _choose_short(q: Float[Array, "b s n d"], k: Float[Array, "b r n d"]) -> str:
    if not on_one_cpu():
        return "xla"
    small = max(q.shape[1], k.shape[1]) <= SHORT and q.shape[3] >= FEWEST_SHORT_CHANNELS
    return "short" if not small or _native_obstacle(call_for(q)) else "native_short"


_using = ""


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Traces attention over long sequences with the kernel of that name.

    Programs traced before keep theirs. `blocked` is for programs compiled on a CPU to learn what
    they need on other chips, `xla` for those whose FLOPs are counted.
    """
    global _using
    before, _using = _using, name
    try:
        yield
    finally:
        _using = before


def on_one_cpu() -> bool:
    """Whether the program being traced will run on one CPU, as it is traced."""
    return not _using and _target()[0] == "cpu" and not sharding.on_mesh()


def _wanted() -> str:
    wanted = _using or os.environ.get(VARIABLE) or "auto"
    if not _using and wanted not in CHOICES:
        raise ConfigError(f"{VARIABLE}={wanted}: choose one of {', '.join(CHOICES)}")
    return wanted


def _target() -> tuple[str, float]:
    """Platform and CUDA compute capability of the devices a program is being traced for.

    Known while tracing, unlike the platform of a lowering; `jax.lax.platform_dependent` would
    trace all kernels, and differentiate them with residuals of each.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        device = jax.config.jax_default_device or jax.devices()[0]
    platform = device if isinstance(device, str) else device.platform
    return platform, _capability() if platform == "gpu" else 0.0


@functools.cache
def _capability() -> float:
    try:
        return float(jax.local_devices(backend="cuda")[0].compute_capability)
    except RuntimeError:
        return 0.0
