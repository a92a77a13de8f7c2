"""Convolutions on a CPU have the gradients of everyone's convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aa_jax.models import attention_kernels, convolution
from aa_jax.models.convolution import conv3x3


def gradients(shape, features, dtype):
    """Of input and parameters, of a loss that weighs every result differently."""
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    module = conv3x3(features, dtype=dtype)
    params = module.init(jax.random.key(1), x)
    weights = jax.random.normal(jax.random.key(2), (*shape[:3], features), dtype)

    @functools.partial(jax.grad, argnums=(0, 1))
    def grad(params, x):
        return (module.apply(params, x) * weights).sum()

    return jax.tree.leaves(jax.jit(grad)(params, x))


@pytest.mark.parametrize("few_pixels", [0, 2**12], ids=["many pixels", "few pixels"])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 2, 4)])
def test_gradients_are_those_of_xlas_convolution(shape, few_pixels, monkeypatch):
    monkeypatch.setattr(convolution, "FEW_PIXELS", few_pixels)
    with jax.enable_x64(True):
        ours = gradients(shape, 6, jnp.float64)
        with attention_kernels.using("xla"):
            expected = gradients(shape, 6, jnp.float64)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_gradients_in_bfloat16_keep_their_dtype_and_sum_in_float32():
    ours = gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    with attention_kernels.using("xla"):
        expected = gradients((2, 6, 6, 8), 4, jnp.bfloat16)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max() < 2**-6 * np.abs(b).max()
