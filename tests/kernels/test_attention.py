"""Every attention kernel is softmax attention, and each call takes the right one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import OWN, R, expected, inputs, value_and_gradients
from flax import linen as nn
from jax.sharding import AxisType
from native_code import needs_compiler

from aa_jax.config import ConfigError
from aa_jax.kernels import fused_attention, plain_attention
from aa_jax.kernels.attention import Call, attention, choose, using
from aa_jax.kernels.cpu import attention as cpu_attention
from aa_jax.kernels.target import Target, target

RUNNABLE = {
    "xla": plain_attention.xla,
    "native": cpu_attention.native,
    "by_head": cpu_attention.by_head,
    "short": cpu_attention.short,
    "blocked": plain_attention.blocked,
    "pallas": functools.partial(fused_attention.pallas, interpret=True),
}
"""Kernels that compute on a CPU."""

EVERY_KERNEL = [
    pytest.param(name, marks=needs_compiler if name == "native" else ()) for name in RUNNABLE
]


# --- what kernels compute -----------------------------------------------------------------------


@pytest.mark.parametrize("head_dim", [40, 64, 80, 160])  # of Stable Diffusion 1.5, and SD 2's
@pytest.mark.parametrize("name", EVERY_KERNEL)
def test_kernels_are_softmax_attention_over_own_and_reference_keys(name, head_dim):
    arrays = inputs(head_dim)

    results = value_and_gradients(RUNNABLE[name], *arrays)

    for result, truth in zip(results, expected(*arrays), strict=True):
        np.testing.assert_allclose(result, truth, atol=3e-6)


@pytest.mark.parametrize("name", EVERY_KERNEL)
def test_keys_beyond_a_samples_length_are_not_seen(name):
    arrays, lengths = inputs(40), [R, OWN]  # the second sample's reference is dropped

    out, *gradients = value_and_gradients(RUNNABLE[name], *arrays, jnp.asarray(lengths))

    for result, truth in zip((out, *gradients), expected(*arrays, lengths), strict=True):
        np.testing.assert_allclose(result, truth, atol=3e-6)
    for gradient in gradients[1:]:
        assert not np.any(gradient[1, OWN:])


@pytest.mark.parametrize("name", EVERY_KERNEL)
def test_bfloat16_attention_has_a_float32_softmax(name):
    arrays = inputs(40, jnp.bfloat16)

    results = value_and_gradients(RUNNABLE[name], *arrays)

    for result, truth in zip(results, expected(*arrays), strict=True):
        assert result.dtype == jnp.bfloat16
        # Inputs are taken as they are; weights and results are rounded, to 2⁻⁹ of themselves.
        error = np.abs(result.astype(np.float32) - truth).max()
        assert error < 2**-7 * np.abs(truth).max()


# --- the choice ---------------------------------------------------------------------------------

HOPPER, AMPERE, TURING = (Target("gpu", capability) for capability in (9.0, 8.0, 7.5))
AMD, CPU, TPU = Target("gpu"), Target("cpu"), Target("tpu")


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "chosen"),
    [
        (HOPPER, "bfloat16", 40, "cudnn"),
        (HOPPER, "bfloat16", 80, "cudnn"),
        (HOPPER, "float16", 160, "cudnn"),
        (HOPPER, "float32", 40, "xla"),
        (HOPPER, "bfloat16", 44, "xla"),
        (HOPPER, "bfloat16", 512, "xla"),
        (AMPERE, "bfloat16", 80, "cudnn"),
        (AMPERE, "bfloat16", 160, "xla"),
        (TURING, "float16", 80, "xla"),
        (AMD, "bfloat16", 80, "xla"),
        (TPU, "bfloat16", 40, "pallas"),
        (TPU, "float32", 160, "pallas"),
        (TPU, "float16", 160, "xla"),
        pytest.param(CPU, "bfloat16", 40, "native", marks=needs_compiler),
        pytest.param(CPU, "float32", 160, "native", marks=needs_compiler),
        (CPU, "float32", 512, "by_head"),
        (CPU, "float64", 40, "by_head"),
    ],
)
def test_calls_take_the_fastest_kernel_that_can(device, dtype, head_dim, chosen):
    assert choose(Call(device=device, dtype=dtype, head_dim=head_dim)) == chosen


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "head_dim", "message"),
    [
        ("cudnn", CPU, "bfloat16", 40, "runs on NVIDIA GPUs, not on cpu"),
        ("cudnn", AMD, "bfloat16", 40, "runs on NVIDIA GPUs"),
        ("cudnn", TURING, "bfloat16", 40, r"needs compute capability 8.0, the GPU has 7.5"),
        ("cudnn", HOPPER, "float32", 40, "computes in bfloat16 or float16, not in float32"),
        ("cudnn", AMPERE, "bfloat16", 160, "up to 128 channels, not of 160"),
        ("pallas", HOPPER, "bfloat16", 40, "runs on TPUs, not on gpu"),
        ("native", TPU, "float32", 40, "runs on CPUs, not on tpu"),
        ("native", CPU, "float64", 40, "computes in float32, not in float64"),
        ("native", CPU, "float32", 512, "up to 256 channels, not of 512"),
        ("pallas", TPU, "float16", 40, "computes in bfloat16 or float32, not in float16"),
    ],
)
def test_a_kernel_that_cannot_is_refused_by_name(wanted, device, dtype, head_dim, message):
    with pytest.raises(ConfigError, match=f"AA_JAX_ATTENTION={wanted}: .*{message}"):
        choose(Call(device=device, dtype=dtype, head_dim=head_dim), wanted)


def test_samples_that_devices_divide_are_not_taken_in_turn():
    on_cpus = Call(device=CPU, dtype="float32", head_dim=40, divided=True)
    on_gpus = Call(device=HOPPER, dtype="bfloat16", head_dim=40, divided=True)

    assert choose(on_cpus) == "xla"
    assert choose(on_gpus) == "cudnn"
    with pytest.raises(ConfigError, match="takes samples in turn"):
        choose(on_cpus, "by_head")


def test_frames_of_a_clip_attend_plainly_whatever_is_wanted(taken, monkeypatch):
    monkeypatch.setenv("AA_JAX_ATTENTION", "cudnn")
    q = jnp.ones((2, 32, 8, 40))

    attention(q, q, q)
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh), nn.logical_axis_rules((("batch", ("data",)),)):
        attention(q, q, q)

    assert taken == ["short", "xla"]


def test_long_sequences_take_the_kernel_of_the_environment(taken, monkeypatch):
    q = jnp.ones((1, 128, 1, 8))

    monkeypatch.setenv("AA_JAX_ATTENTION", "by_head")
    attention(q, q, q)
    monkeypatch.setenv("AA_JAX_ATTENTION", "xla")
    attention(q, q, q)
    with using("blocked"):
        attention(q, q, q)

    assert taken == ["by_head", "xla", "blocked"]


def test_an_unknown_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("AA_JAX_ATTENTION", "flash")
    q = jnp.ones((1, 128, 1, 8))
    names = "auto, xla, cudnn, pallas, native, by_head"

    with pytest.raises(ConfigError, match=f"flash: choose one of {names}"):
        attention(q, q, q)


def test_a_mesh_decides_the_platform_of_the_programs_traced_for_it():
    tpus = jax.sharding.AbstractMesh(
        (2,),
        ("data",),
        (AxisType.Auto,),
        abstract_device=jax.sharding.AbstractDevice("TPU v5 lite", None, "tpu"),
    )

    with jax.sharding.use_abstract_mesh(tpus):
        assert target() == ("tpu", 0.0)
    assert target() == ("cpu", 0.0)
