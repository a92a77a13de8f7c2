"""Programs for GPUs and TPUs, which cannot run here, call fused kernels as they should."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import expected, inputs, value_and_gradients
from flax import linen as nn
from jax._src.cudnn import fused_attention_stablehlo
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from aa_jax.kernels import fused_attention, plain_attention
from aa_jax.kernels.attention import saves_results
from aa_jax.kernels.cpu import attention as cpu_attention
from aa_jax.training import flops

SPLASH = functools.partial(fused_attention.pallas, interpret=True)
"""Which computes on a CPU."""


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
    program = lowered(fused_attention.cudnn, "cuda", head_dim)

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

    program = lowered(fused_attention.cudnn, "cuda", 160, lengths, key_lengths)

    assert r"mask_type\22: \22PADDING\22" in program
    assert ("stablehlo.pad" in program) == padded
    assert ("tensor<2x640x8x160xbf16>" in program) == padded


@pytest.mark.parametrize("head_dim", [40, 80, 160])
@pytest.mark.parametrize("lengths", [(4096, 8192), (576, 1152)])
def test_pallas_lowers_for_tpus(head_dim, lengths):
    program = lowered(fused_attention.pallas, "tpu", head_dim, lengths)

    assert program.count("@tpu_custom_call(") == 3  # forward; backward to q, and to k and v


@pytest.mark.usefixtures("hopper")
def test_cudnn_is_divided_by_a_mesh():
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    q = jax.ShapeDtypeStruct((4, 256, 8, 40), jnp.bfloat16)

    with jax.set_mesh(mesh), nn.logical_axis_rules((("batch", ("data",)),)):
        traced = jax.jit(fused_attention.cudnn).trace(q, q, q)
        program = traced.lower(lowering_platforms=("cuda",)).as_text()

    call = next(line for line in program.splitlines() if "fmhaSoftmax" in line)
    assert "tensor<2x256x8x40xbf16>" in call  # a device's half of the samples


@pytest.mark.parametrize("kernel", [plain_attention.blocked, SPLASH], ids=["blocked", "pallas"])
def test_devices_attend_to_their_own_samples_without_exchanges(kernel):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    arrays = inputs(40)

    with jax.set_mesh(mesh), nn.logical_axis_rules((("batch", ("data",)),)):
        placed = [jax.device_put(x, jax.NamedSharding(mesh, P("data"))) for x in arrays]
        results = value_and_gradients(kernel, *placed)
        program = jax.jit(kernel).lower(*placed[:3]).compile().as_text()

    for result, truth in zip(results, expected(*arrays), strict=True):
        assert result.sharding.is_equivalent_to(jax.NamedSharding(mesh, P("data")), 4)
        np.testing.assert_allclose(result, truth, atol=3e-6)
    assert "all-gather" not in program
    assert "all-to-all" not in program


@pytest.mark.parametrize(
    ("kernel", "forward"),
    [
        (fused_attention.cudnn, "dot_product_attention_fwd_wrapper"),
        (SPLASH, "splash_mha_fwd_residuals"),
    ],
)
@pytest.mark.usefixtures("hopper")
def test_a_checkpoint_does_not_run_the_forward_kernel_again(kernel, forward):
    q = jnp.zeros((1, 256, 1, 64), jnp.bfloat16)

    def forward_runs(policy):
        def loss(q):
            return jnp.sum(jnp.square(kernel(q, q, q).astype(jnp.float32)))

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            traced = jax.jit(jax.value_and_grad(jax.checkpoint(loss, policy=policy))).trace(q)
        return len(list(equations(traced.jaxpr.jaxpr, forward)))

    assert forward_runs(saves_results) == 1
    assert forward_runs(jax.checkpoint_policies.nothing_saveable) == 2


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

    assert count(plain_attention.xla) == 2 + 4
    assert count(fused_attention.cudnn) == 2 + 4
    assert count(cpu_attention.native) == 2 + 4
    # The two backward kernels compute the scores' gradients each. What is no kernel's beside them:
    # a product of result and cotangent, for every query.
    assert count(fused_attention.pallas) == pytest.approx(2 + 3 + 4 + 1 / 512)
