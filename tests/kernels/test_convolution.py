"""Convolutions on a CPU have the gradients of everyone's convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_code import needs_compiler

from aa_jax.kernels import attention as attention_kernels
from aa_jax.kernels import convolution
from aa_jax.kernels.convolution import conv3x3
from aa_jax.training import flops


def loss_and_gradients(shape, features, dtype):
    """A loss that weighs every result differently, and its gradients of input and parameters."""
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    module = conv3x3(features, dtype=dtype)
    params = module.init(jax.random.key(1), x)
    weights = jax.random.normal(jax.random.key(2), (*shape[:3], features), dtype)

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def grad(params, x):
        return (module.apply(params, x) * weights).sum()

    return jax.tree.leaves(jax.jit(grad)(params, x))


LIMITS = {
    "many": {"FEW_PIXELS": 0, "VERY_FEW_PIXELS": 0},
    "few": {"VERY_FEW_PIXELS": 0},
    "very few": {},
    "winograd": {"MANY_CHANNELS": 1, "MANY_PIXELS": 0},
}
"""What makes pictures of few pixels and channels take each way."""


@pytest.fixture(params=LIMITS)
def way(request, monkeypatch):
    """Has all convolutions take one way."""
    for name, limit in LIMITS[request.param].items():
        monkeypatch.setattr(convolution, name, limit)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 2, 4), (2, 6, 4, 3)])
def test_results_and_gradients_are_those_of_xlas_convolution(shape):
    with jax.enable_x64(True):
        ours = loss_and_gradients(shape, 6, jnp.float64)
        with attention_kernels.using("xla"):
            expected = loss_and_gradients(shape, 6, jnp.float64)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize(
    ("side", "part"),
    [
        (16, 4 / 9),
        pytest.param(32, 1 / 4, marks=needs_compiler),
    ],
)
def test_convolutions_of_many_channels_multiply_a_part_as_much(side, part):
    x, kernel = jnp.ones((2, side, side, 64)), jnp.ones((3, 3, 64, 128))
    plain = 2 * 2 * side**2 * 9 * 64 * 128

    def all_three(x, kernel):
        out, pullback = jax.vjp(convolution.convolve, x, kernel)
        return out, *pullback(out)

    assert flops.count(jax.make_jaxpr(all_three)(x, kernel)) == 3 * plain * part


@needs_compiler
@pytest.mark.parametrize(
    ("shape", "features", "dtype"),
    [
        ((1, 1, 1, 16), 16, jnp.float32),
        ((3, 13, 10, 48), 80, jnp.float32),  # neither side is a number of whole tiles
        ((2, 64, 68, 32), 16, jnp.float32),  # more tiles than are transformed at a time
        ((1, 8, 8, 176), 16, jnp.float32),  # more channels than a product sums at a time
        ((1, 8, 8, 32), 32, jnp.bfloat16),
    ],
)
def test_native_convolutions_are_xlas(shape, features, dtype, monkeypatch):
    monkeypatch.setattr(convolution, "SOME_CHANNELS", 1)
    monkeypatch.setattr(convolution, "MANY_TILES", 1)

    ours = loss_and_gradients(shape, features, dtype)
    with attention_kernels.using("xla"):
        expected = loss_and_gradients(shape, features, dtype)

    rounding = 2e-5 if dtype == jnp.float32 else 2**-6
    for a, b in zip(ours[1:], expected[1:], strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max() < rounding * np.abs(b).max()


@pytest.mark.usefixtures("way")
def test_gradients_in_bfloat16_keep_their_dtype_and_sum_in_float32():
    ours = loss_and_gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    with attention_kernels.using("xla"):
        expected = loss_and_gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max() < 2**-6 * np.abs(b).max()
