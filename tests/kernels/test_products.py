"""Layers whose products a CPU computes in its own way are flax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from native_code import needs_matrix_unit
from parity import normal

from aa_jax.kernels import products
from aa_jax.kernels.cpu.native.library import Program
from aa_jax.kernels.products import Dense
from aa_jax.training import flops


def loss_and_gradients(layer, params, x):
    def loss(params, x):
        return (layer.apply({"params": params}, x) ** 2).sum()

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)


def layer_params(inputs, outputs):
    kernel, bias = normal(inputs, outputs, seed=1), normal(outputs, seed=2)
    return {"kernel": kernel / inputs**0.5, "bias": bias}


@pytest.mark.parametrize("shape", [(3, 5, 16), (2, 130, 320)], ids=["few", "many"])
def test_a_layer_is_flaxs_with_its_gradients(shape):
    x, params = normal(*shape), layer_params(shape[-1], 352)
    with jax.enable_x64(True):
        truth = loss_and_gradients(nn.Dense(352), *jax.tree.map(jnp.float64, (params, x)))

    results = loss_and_gradients(Dense(352), *jax.tree.map(jnp.float32, (params, x)))

    for result, expected in zip(*map(jax.tree.leaves, (results, truth)), strict=True):
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, atol=2e-6 * np.abs(expected).max(), rtol=0)


def programs(rows, inputs, outputs, dtype=jnp.float32):
    """How often C++ multiplies in a layer's forward and backward pass."""
    x = jnp.zeros((rows, inputs), dtype)
    params = jax.tree.map(jnp.float32, layer_params(inputs, outputs))
    text = str(
        jax.make_jaxpr(lambda *a: loss_and_gradients(Dense(outputs, dtype=dtype), *a))(params, x)
    )
    return text.count(Program.MULTIPLY)


@needs_matrix_unit
def test_large_products_are_cpp(monkeypatch):
    assert programs(128, 320, 64) == 3
    assert programs(128, 256, 64) == 2  # the gradient of few weights is not
    assert programs(64, 320, 64) == 1  # that gradient alone
    assert programs(128, 320, 64, jnp.bfloat16) == 0
    monkeypatch.setattr(products, "on_one_cpu", lambda: False)
    assert programs(128, 320, 64) == 0


@needs_matrix_unit
def test_cpp_counts_as_the_products_it_computes():
    x, kernel = jnp.zeros((2, 128, 320)), jnp.zeros((320, 64))

    def all_three(x, kernel, multiply):
        return jax.grad(lambda x, kernel: (multiply(x, kernel) ** 2).sum(), argnums=(0, 1))(
            x, kernel
        )

    counts = [
        flops.count(jax.make_jaxpr(lambda *a, f=f: all_three(*a, f))(x, kernel))
        for f in (products.matmul, jnp.matmul)
    ]
    assert counts[0] == counts[1] == 3 * 2 * 2 * 128 * 320 * 64
