"""Every attention kernel is softmax attention, and each call takes the right one."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import plain_attention, plain_gradients
from flax import linen as nn
from jax._src.cudnn import fused_attention_stablehlo
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from native_code import needs_compiler
from parity import normal

from aa_jax.config import ConfigError
from aa_jax.kernels import attention as kernels
from aa_jax.kernels.attention import Call, attention, choose, using
from aa_jax.kernels.cpu import attention as cpu_attention
from aa_jax.kernels.cpu.native import library
from aa_jax.training import flops

RUNNABLE = {
    "xla": kernels.xla,
    "native": cpu_attention.native,
    "by_head": cpu_attention.by_head,
    "short": cpu_attention.short,
    "blocked": kernels.blocked,
    "pallas": functools.partial(kernels.pallas, interpret=True),
}
"""Kernels that compute on a CPU."""

EVERY_KERNEL = [
    pytest.param(name, marks=needs_compiler if name == "native" else ()) for name in RUNNABLE
]

B, S, OWN, R, N = 2, 96, 96, 200, 2
"""Samples, queries, own keys, own and reference keys, heads; no length is a whole tile."""


def inputs(head_dim, dtype=jnp.float32, lengths=(S, R, R, S)):
    """Queries, keys, values, and the cotangent of the result."""
    return [
        jnp.asarray(normal(B, length, N, head_dim, seed=i), dtype)
        for i, length in enumerate(lengths)
    ]


def value_and_gradients(kernel, q, k, v, cotangent, key_lengths=None):
    @jax.jit
    def both(q, k, v):
        out, pullback = jax.vjp(lambda *qkv: kernel(*qkv, key_lengths), q, k, v)
        return out, *pullback(cotangent)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return both(q, k, v)


def expected(q, k, v, cotangent, key_lengths=None):
    arrays = [np.asarray(x, np.float32) for x in (q, k, v, cotangent)]
    return (
        plain_attention(*arrays[:3], key_lengths=key_lengths),
        *plain_gradients(*arrays, key_lengths=key_lengths),
    )


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


@pytest.mark.parametrize("lengths", [None, [R, OWN]])
def test_heads_may_take_their_queries_in_blocks(lengths, monkeypatch):
    monkeypatch.setattr(cpu_attention, "MOST_QUERIES", 32)  # of 96
    monkeypatch.setattr(cpu_attention, "FEWEST_QUERIES", 32)
    arrays, seen = inputs(40), lengths and jnp.asarray(lengths)

    results = value_and_gradients(cpu_attention.by_head, *arrays, seen)

    for result, truth in zip(results, expected(*arrays, lengths), strict=True):
        np.testing.assert_allclose(result, truth, atol=3e-6)


@pytest.mark.parametrize("name", EVERY_KERNEL)
def test_bfloat16_attention_has_a_float32_softmax(name):
    arrays = inputs(40, jnp.bfloat16)

    results = value_and_gradients(RUNNABLE[name], *arrays)

    for result, truth in zip(results, expected(*arrays), strict=True):
        assert result.dtype == jnp.bfloat16
        # Inputs are taken as they are; weights and results are rounded, to 2⁻⁹ of themselves.
        error = np.abs(result.astype(np.float32) - truth).max()
        assert error < 2**-7 * np.abs(truth).max()


@needs_compiler
@pytest.mark.parametrize(
    ("kernel", "head_dim", "queries", "keys"),
    [
        ("native", 1, 63, 65),
        ("native", 20, 1, 1),
        ("native", 33, 130, 257),
        ("native", 256, 65, 63),
        ("native_short", 16, 1, 1),
        ("native_short", 20, 8, 8),
        ("native_short", 40, 24, 24),
        ("native_short", 84, 17, 32),
        ("native_short", 256, 32, 5),
    ],
)
def test_native_attention_takes_any_lengths_and_channels(kernel, head_dim, queries, keys):
    arrays = inputs(head_dim, lengths=(queries, keys, keys, queries))
    seen = [keys, (keys + 1) // 2]

    results = value_and_gradients(getattr(cpu_attention, kernel), *arrays, jnp.asarray(seen))

    for result, truth in zip(results, expected(*arrays, seen), strict=True):
        np.testing.assert_allclose(result, truth, atol=5e-6)
    for gradient in results[2:]:
        assert not np.any(gradient[1, seen[1] :])


@needs_compiler
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_native_attention_of_short_sequences_may_have_no_lengths(dtype):
    arrays = inputs(40, dtype, lengths=(24, 24, 24, 24))

    results = value_and_gradients(cpu_attention.native_short, *arrays)

    for result, truth in zip(results, expected(*arrays), strict=True):
        assert result.dtype == dtype
        error = np.abs(result.astype(np.float32) - truth).max()
        assert error < (2e-6 if dtype == jnp.float32 else 2**-8) * np.abs(truth).max()


@needs_compiler
def test_native_attention_of_large_scores_is_as_exact_as_these_are():
    q, k, v, cotangent = inputs(40)
    arrays = 20 * q, 20 * k, v, cotangent
    scores = np.einsum("bsnd,brnd->bnsr", *arrays[:2]) * 40**-0.5
    rounding = np.spacing(np.abs(scores).max())  # is that of exponents, hence relative

    results = value_and_gradients(cpu_attention.native, *arrays)

    assert np.abs(scores).max() > 1000
    for result, truth in zip(results, expected(*arrays), strict=True):
        np.testing.assert_allclose(result, truth, atol=4 * rounding * np.abs(truth).max())


@needs_compiler
def test_native_attention_hides_no_nan():
    q, k, v, _ = inputs(40)

    out = cpu_attention.native(q, k.at[0, 3, 1].set(jnp.nan), v)

    assert np.isnan(out[0, :, 1]).all()
    assert np.isfinite(out[0, :, 0]).all()
    assert np.isfinite(out[1]).all()


@pytest.mark.parametrize("name", ["blocked", "pallas"])
def test_devices_attend_to_their_own_samples_without_exchanges(name):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    arrays = inputs(40)

    with jax.set_mesh(mesh), nn.logical_axis_rules((("batch", ("data",)),)):
        placed = [jax.device_put(x, jax.NamedSharding(mesh, P("data"))) for x in arrays]
        results = value_and_gradients(RUNNABLE[name], *placed)
        program = jax.jit(RUNNABLE[name]).lower(*placed[:3]).compile().as_text()

    for result, truth in zip(results, expected(*arrays), strict=True):
        assert result.sharding.is_equivalent_to(jax.NamedSharding(mesh, P("data")), 4)
        np.testing.assert_allclose(result, truth, atol=3e-6)
    assert "all-gather" not in program
    assert "all-to-all" not in program


# --- programs for GPUs and TPUs, which cannot run here ------------------------------------------


@pytest.fixture
def hopper(monkeypatch):
    """Lets jax trace for a Hopper GPU with cuDNN 9.10, which it asks the machine for."""
    versions = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "cuda_versions", versions)
    monkeypatch.setattr(
        fused_attention_stablehlo, "check_compute_capability", lambda capability: True
    )


def lowered(kernel, platform, head_dim, lengths=(4096, 8192), key_lengths=None):
    """StableHLO of a kernel's forward and backward pass, in bfloat16."""
    q, kv = (jax.ShapeDtypeStruct((2, n, 8, head_dim), jnp.bfloat16) for n in lengths)

    def both(q, k, v):
        out, pullback = jax.vjp(lambda *qkv: kernel(*qkv, key_lengths), q, k, v)
        return out, *pullback(out)

    # Kernels have no stable serialised form, which is all that this check is about.
    calls = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward", "tpu_custom_call")
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in calls]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exported = jax.export.export(jax.jit(both), platforms=[platform], disabled_checks=checks)
        return exported(q, kv, kv).mlir_module()


@pytest.mark.parametrize("head_dim", [40, 64, 80, 160])
@pytest.mark.usefixtures("hopper")
def test_cudnn_lowers_for_cuda(head_dim):
    program = lowered(kernels.cudnn, "cuda", head_dim)

    assert program.count("custom_call @__cudnn$fmhaSoftmax(") == 1
    assert program.count("custom_call @__cudnn$fmhaSoftmaxBackward(") == 1
    assert "NO_MASK" in program
    assert "stablehlo.pad" not in program


@pytest.mark.parametrize(
    ("lengths", "key_lengths", "padded"),
    [
        ((576, 576), None, True),  # 768x768 pictures, third level
        ((144, 256), None, False),  # keys are whole tiles, queries are not
        ((256, 512), [512, 256], False),
    ],
)
@pytest.mark.usefixtures("hopper")
def test_cudnn_gets_whole_tiles_of_keys_and_a_mask_of_lengths(lengths, key_lengths, padded):
    key_lengths = None if key_lengths is None else jnp.asarray(key_lengths)

    program = lowered(kernels.cudnn, "cuda", 160, lengths, key_lengths)

    assert r"mask_type\22: \22PADDING\22" in program
    assert ("stablehlo.pad" in program) == padded
    assert ("tensor<2x640x8x160xbf16>" in program) == padded


@pytest.mark.parametrize("head_dim", [40, 80, 160])
@pytest.mark.parametrize("lengths", [(4096, 8192), (576, 1152)])
def test_pallas_lowers_for_tpus(head_dim, lengths):
    program = lowered(kernels.pallas, "tpu", head_dim, lengths)

    assert program.count("@tpu_custom_call(") == 3  # forward; backward to q, and to k and v


@pytest.mark.usefixtures("hopper")
def test_cudnn_is_divided_by_a_mesh():
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    q = jax.ShapeDtypeStruct((4, 256, 8, 40), jnp.bfloat16)

    with jax.set_mesh(mesh), nn.logical_axis_rules((("batch", ("data",)),)):
        traced = jax.jit(kernels.cudnn).trace(q, q, q)
        program = traced.lower(lowering_platforms=("cuda",)).as_text()

    call = next(line for line in program.splitlines() if "fmhaSoftmax" in line)
    assert "tensor<2x256x8x40xbf16>" in call  # a device's half of the samples


@pytest.mark.parametrize(
    ("kernel", "forward"),
    [
        (kernels.cudnn, "dot_product_attention_fwd_wrapper"),
        (functools.partial(kernels.pallas, interpret=True), "splash_mha_fwd_residuals"),
    ],
)
@pytest.mark.usefixtures("hopper")
def test_a_checkpoint_does_not_run_the_forward_kernel_again(kernel, forward):
    q = jnp.zeros((1, 256, 1, 64), jnp.bfloat16)
    policies = jax.checkpoint_policies
    policy = policies.save_from_both_policies(
        policies.save_only_these_names(kernels.SAVED), kernels.saves_residuals
    )

    def forward_runs(policy):
        def loss(q):
            return jnp.sum(jnp.square(kernel(q, q, q).astype(jnp.float32)))

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            traced = jax.jit(jax.value_and_grad(jax.checkpoint(loss, policy=policy))).trace(q)
        return len(list(equations(traced.jaxpr.jaxpr, forward)))

    assert forward_runs(policy) == 1
    assert forward_runs(policies.nothing_saveable) == 2


def equations(jaxpr, name):
    """Equations of a jaxpr, and of all it calls, whose primitive or kernel has a name."""
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    for eqn in jaxpr.eqns:
        called = eqn.primitive.name
        if (eqn.params["name"] if called == "pallas_call" else called) == name:
            yield eqn
        else:
            for inner in jaxprs_in_params(eqn.params):
                yield from equations(inner, name)


@pytest.mark.usefixtures("hopper")
def test_flops_of_kernels_are_those_of_plain_attention():
    q, kv = (jax.ShapeDtypeStruct((2, n, 3, 64), jnp.bfloat16) for n in (256, 512))
    product = 2 * 2 * 3 * 256 * 512 * 64

    def count(kernel):
        def both(q, k, v):
            out, pullback = jax.vjp(kernel, q, k, v)
            return out, *pullback(out)

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return flops.count(jax.jit(both).trace(q, kv, kv).jaxpr) / product

    assert count(kernels.xla) == 2 + 4
    assert count(kernels.cudnn) == 2 + 4
    assert count(cpu_attention.native) == 2 + 4
    assert count(cpu_attention.native_short) == 2 + 4
    # The two backward kernels compute the scores' gradients each. What is no kernel's beside them:
    # a product of result and cotangent, for every query.
    assert count(kernels.pallas) == pytest.approx(2 + 3 + 4 + 1 / 512)


# --- the choice ---------------------------------------------------------------------------------

HOPPER, AMPERE = {"platform": "gpu", "capability": 9.0}, {"platform": "gpu", "capability": 8.0}
TURING, AMD = {"platform": "gpu", "capability": 7.5}, {"platform": "gpu"}
CPU, TPU = {"platform": "cpu"}, {"platform": "tpu"}


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
        (CPU | {"divided": True}, "float32", 40, "xla"),
        (HOPPER | {"divided": True}, "bfloat16", 40, "cudnn"),
    ],
)
def test_calls_take_the_fastest_kernel_that_can(device, dtype, head_dim, chosen):
    assert choose(Call(dtype=dtype, head_dim=head_dim, **device)) == chosen


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
        ("by_head", CPU | {"divided": True}, "float32", 40, "takes samples in turn"),
        ("pallas", TPU, "float16", 40, "computes in bfloat16 or float32, not in float16"),
    ],
)
def test_a_kernel_that_cannot_is_refused_by_name(wanted, device, dtype, head_dim, message):
    with pytest.raises(ConfigError, match=f"AA_JAX_ATTENTION={wanted}: .*{message}"):
        choose(Call(dtype=dtype, head_dim=head_dim, **device), wanted)


@pytest.fixture
def taken(monkeypatch):
    """Names of the kernels that are called."""
    names = []

    def recording(name, kernel):
        def attend(*args):
            names.append(name)
            return kernel.attend(*args)

        return kernels.Kernel(attend, kernel.obstacle)

    for name, kernel in kernels.KERNELS.items():
        monkeypatch.setitem(kernels.KERNELS, name, recording(name, kernel))
    return names


@needs_compiler
@pytest.mark.parametrize(
    ("frames", "head_dim", "dtype", "kernel"),
    [
        (32, 40, "float32", "native_short"),
        (32, 20, "bfloat16", "native_short"),
        (33, 40, "float32", "short"),
        (32, 8, "float32", "short"),
        (32, 512, "float32", "short"),
    ],
)
def test_frames_of_a_clip_take_the_fastest_kernel_that_can(frames, head_dim, dtype, kernel, taken):
    q = jnp.ones((2, frames, 8, head_dim), dtype)

    attention(q, q, q)

    assert taken == [kernel]


def test_frames_of_a_clip_attend_plainly_whatever_is_wanted(taken, monkeypatch):
    monkeypatch.setenv("AA_JAX_ATTENTION", "cudnn")
    monkeypatch.setattr(library, "obstacle", lambda: "needs a C++ compiler")
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


def test_without_a_compiler_long_sequences_take_one_head_at_a_time(taken, monkeypatch):
    monkeypatch.setattr(library, "obstacle", lambda: "needs a C++ compiler")
    q = jnp.ones((1, 128, 1, 8))

    attention(q, q, q)

    assert taken == ["by_head"]


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
        assert kernels._target() == ("tpu", 0.0)
    assert kernels._target() == ("cpu", 0.0)
