"""Kernels of scaled dot-product attention, and which of them a call takes.

    xla       plain products around a float32 softmax; runs everywhere
    by_head   the same, one head of one sample after the other: CPUs, long sequences
    short     the same, in products of batches of matrices: CPUs, short sequences
    cudnn     cuDNN's fused attention, by `jax.nn.dot_product_attention`: NVIDIA GPUs, 16 bits
    pallas    jax's splash attention: TPUs
    blocked   `xla` in blocks of queries, with the memory of a fused kernel: for plans

`attention` chooses among the first five by the platform that a program is traced for, by dtype,
head dimension and lengths. Short sequences, such as the frames of a clip, take `xla` or `short`.
The environment variable AA_JAX_ATTENTION (`auto`, `xla`, `cudnn`, `pallas`) makes long ones take
one kernel and refuses what it cannot do.
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
from einops import rearrange, repeat
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError
from aa_jax.models import sharding

LONG = 2**13
"""Scores per head (queries times keys) from which on there is a choice of kernels."""

BLOCK = 512
"""Queries, and keys, that a kernel takes at once."""

TILE = 128
"""What fused kernels want lengths to be multiples of."""

SAVED = "attention"
"""`checkpoint_name` of what a backward pass should not compute again."""


# --- kernels ------------------------------------------------------------------------------------


def xla(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """All heads of all samples at once."""
    return checkpoint_name(_plain(q, k, v, key_lengths), SAVED)


def _plain(q: Array, k: Array, v: Array, key_lengths: Array | None) -> Array:
    logits = jnp.einsum("bsnd,brnd->bnsr", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(_masked(logits, key_lengths), axis=-1).astype(v.dtype)
    return jnp.einsum("bnsr,brnd->bsnd", weights, v)


@jax.custom_vjp
def by_head(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """The same for some queries of one head of one sample after the other.

    On a CPU many times as fast as all heads at once, whose scores travel to main memory and back;
    and only few scores exist at a time, of which a large picture has gigabytes: the backward pass
    computes them again.
    """
    return _by_head_forward(q, k, v, key_lengths)[0]


def _by_head_forward(q: Array, k: Array, v: Array, key_lengths: Array | None) -> tuple[Array, Any]:
    """Divides the sums of values instead of the weights, which then are part of the product."""

    def one_head(inputs: Any) -> tuple[Array, Array]:
        q, k, v = inputs

        def some_queries(q: Array) -> tuple[Array, Array]:
            logits = _product(q, k)
            largest = logits.max(1, keepdims=True)
            weights = jnp.exp(logits - largest)
            total = weights.sum(1, keepdims=True)
            values = _product(weights.astype(v.dtype), v) / total
            return values.astype(v.dtype), (largest + jnp.log(total))[:, 0]

        return jax.lax.map(some_queries, q)

    heads = q.shape[2]
    queries, keys = _with_mask(_scaled(q), k, key_lengths)
    queries = rearrange(queries, "b (i s) n d -> (b n) i s d", s=_queries_at_once(q.shape[1]))
    keys, values = rearrange(keys, "b s n d -> (b n) d s"), rearrange(v, "b s n d -> (b n) s d")
    out, log_totals = jax.lax.map(one_head, (queries, keys, values))
    out = checkpoint_name(rearrange(out, "(b n) i s d -> b (i s) n d", n=heads), SAVED)
    return out, (q, k, v, key_lengths, out, checkpoint_name(log_totals, SAVED))


def _by_head_backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
    """As FlashAttention's (Dao et al. 2022); in no product is a matrix of scores turned."""
    q, k, v, key_lengths, out, log_totals = saved
    heads, channels, block = *q.shape[2:], _queries_at_once(q.shape[1])

    def one_head(inputs: Any) -> tuple[Array, Array, Array]:
        *per_query, k, v = inputs

        def some_queries(sums: Any, inputs: Any) -> tuple[Any, Array]:
            q, gradient, log_total, mean = inputs
            weights = jnp.exp(_product(q, k) - log_total[:, None])
            of_logits = (weights * (_product(gradient, v) - mean[:, None])).astype(q.dtype)
            of_k, of_v = sums
            of_k += _product(q.T, of_logits)
            of_v += _product(gradient.T, weights.astype(v.dtype))
            return (of_k, of_v), _product(k, of_logits.T)

        zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
        (of_k, of_v), of_q = jax.lax.scan(some_queries, zeros, tuple(per_query))
        return of_q, of_k, of_v

    # What every query's scores lose: the mean of their weights' gradients.
    means = (gradient.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)
    queries, keys = _with_mask(_scaled(q), k, key_lengths)
    of_q, of_k, of_v = jax.lax.map(
        one_head,
        (
            rearrange(queries, "b (i s) n d -> (b n) i s d", s=block),
            rearrange(gradient, "b (i s) n d -> (b n) i s d", s=block),
            log_totals,
            rearrange(means, "b (i s) n -> (b n) i s", s=block),
            rearrange(keys, "b s n d -> (b n) d s"),
            rearrange(v, "b s n d -> (b n) d s"),
        ),
    )
    of_q = rearrange(of_q[:, :, :channels], "(b n) i d s -> b (i s) n d", n=heads)
    of_q *= channels**-0.5
    of_k, of_v = (rearrange(x[:, :channels], "(b n) d s -> b s n d", n=heads) for x in (of_k, of_v))
    return of_q.astype(q.dtype), of_k.astype(k.dtype), of_v.astype(v.dtype), None


by_head.defvjp(_by_head_forward, _by_head_backward)


def _with_mask(q: Array, k: Array, key_lengths: Array | None) -> tuple[Array, Array]:
    """Queries and keys whose products are next to minus infinity for keys not to be seen.

    By one more channel of both: what were added to the products, XLA's CPU backend would add to all
    of them in memory.
    """
    if key_lengths is None:
        return q, k
    hidden = jnp.arange(k.shape[1])[None] >= key_lengths[:, None]
    channel = jnp.where(hidden, -1e30, 0).astype(k.dtype)
    channel = jnp.broadcast_to(channel[:, :, None, None], (*k.shape[:3], 1))
    ones = jnp.ones((*q.shape[:3], 1), q.dtype)
    return jnp.concatenate([q, ones], axis=-1), jnp.concatenate([k, channel], axis=-1)


def _queries_at_once(queries: int) -> int:
    """The largest divisor of a number of queries up to `BLOCK`, or all where it is a small one."""
    largest = max(n for n in range(1, BLOCK + 1) if queries % n == 0)
    return largest if largest >= TILE else queries


def _scaled(q: Array) -> Array:
    """Queries whose products with keys are the logits, rounded once more."""
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _masked(logits: Float[Array, "*b s r"], key_lengths: Int[Array, "*c"] | None) -> Array:
    """Logits, those of keys beyond the lengths of their samples (the first axes) minus infinity."""
    if key_lengths is None:
        return logits
    keys = jnp.arange(logits.shape[-1]).reshape((1,) * (logits.ndim - 1) + (-1,))
    lengths = key_lengths.reshape(key_lengths.shape + (1,) * (logits.ndim - key_lengths.ndim))
    return jnp.where(keys < lengths, logits, -jnp.inf)


def _length_per_head(key_lengths: Array | None, heads: int) -> Array | None:
    return None if key_lengths is None else repeat(key_lengths, "b -> (b n)", n=heads)


def short(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """All heads of all samples at once, in products [b, s, k] times [b, k, r], also of gradients.

    What differentiating `xla` leads to are products over other axes; a CPU takes up to ten times as
    long for those of thousands of small matrices.
    """
    return checkpoint_name(_short(q, k, v, key_lengths), SAVED)


@jax.custom_vjp
def _short(q: Array, k: Array, v: Array, key_lengths: Array | None) -> Array:
    return _short_forward(q, k, v, key_lengths)[0]


def _short_forward(q: Array, k: Array, v: Array, key_lengths: Array | None) -> tuple[Array, Any]:
    heads = q.shape[2]
    q, k, v = (rearrange(x, "b s n d -> (b n) s d") for x in (q, k, v))
    logits = _product(q, jnp.swapaxes(k, 1, 2)) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(_masked(logits, _length_per_head(key_lengths, heads)), axis=-1)
    out = _product(weights.astype(v.dtype), v).astype(v.dtype)
    return rearrange(out, "(b n) s d -> b s n d", n=heads), (q, k, v, weights)


def _short_backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, weights = saved
    heads = gradient.shape[2]
    gradient = rearrange(gradient, "b s n d -> (b n) s d")
    of_weights = _product(gradient, jnp.swapaxes(v, 1, 2))
    of_logits = weights * (of_weights - (weights * of_weights).sum(-1, keepdims=True))
    of_logits = (of_logits * q.shape[-1] ** -0.5).astype(q.dtype)
    gradients = (
        _product(of_logits, k),
        _product(jnp.swapaxes(of_logits, 1, 2), q),
        _product(jnp.swapaxes(weights, 1, 2).astype(v.dtype), gradient),
    )
    return *(rearrange(x.astype(q.dtype), "(b n) s d -> b s n d", n=heads) for x in gradients), None


_short.defvjp(_short_forward, _short_backward)


def blocked(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """One block of queries of one sample after the other, on every device for its own samples.

    Takes the memory of the fused kernels, not their time.
    """
    if key_lengths is None:
        key_lengths = jnp.full(len(q), k.shape[1])
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
    q = _scaled(q)  # which the kernel does not do
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
    "by_head": Kernel(by_head, _by_head_obstacle),
    "short": Kernel(short, lambda call: "is for short sequences"),
    "xla": Kernel(xla),
    "blocked": Kernel(blocked),
}
"""By name; a call takes the first that can, which `xla` always can."""

VARIABLE = "AA_JAX_ATTENTION"
CHOICES = ("auto", "xla", "cudnn", "pallas")


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
    if q.shape[1] * k.shape[1] >= LONG:
        name = choose(call_for(q), _wanted())
    else:
        name = "short" if on_one_cpu() else "xla"
    return KERNELS[name].attend(q, k, v, key_lengths)


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
