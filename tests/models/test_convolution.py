"""Convolutions on a CPU have the gradients of everyone's convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aa_jax.models import attention_kernels, convolution
from aa_jax.models.convolution import conv3x3


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


@pytest.mark.parametrize(
    "limits", [(0, 0), (2**12, 0), (2**12, 2**9)], ids=["many", "few", "very few"]
)
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 2, 4)])
def test_results_and_gradients_are_those_of_xlas_convolution(shape, limits, monkeypatch):
    monkeypatch.setattr(convolution, "FEW_PIXELS", limits[0])
    monkeypatch.setattr(convolution, "VERY_FEW_PIXELS", limits[1])
    with jax.enable_x64(True):
        ours = loss_and_gradients(shape, 6, jnp.float64)
        with attention_kernels.using("xla"):
            expected = loss_and_gradients(shape, 6, jnp.float64)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


def test_gradients_in_bfloat16_keep_their_dtype_and_sum_in_float32():
    ours = loss_and_gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    with attention_kernels.using("xla"):
        expected = loss_and_gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max() < 2**-6 * np.abs(b).max()
