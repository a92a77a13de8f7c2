"""GEGLU and LayerNorm in C++ are PyTorch's in float64, with their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from native_code import needs_compiler
from parity import normal

from aa_jax.kernels import attention as attention_kernels
from aa_jax.kernels.cpu.native import library, tokens
from aa_jax.models.attention import GEGLU
from aa_jax.models.normalization import LayerNorm

pytestmark = needs_compiler

SHAPES = [(1, 16), (2, 67, 48), (3, 5, 7, 112)]
"""One token; more than are taken at a time, and no multiple; axes of their own."""


def value_and_gradients(function, *arrays, dtype=jnp.float32):
    arrays = [jnp.asarray(x, dtype) for x in arrays]
    value, pullback = jax.vjp(function, *arrays)
    return value, *pullback(cotangent(value.shape, dtype))


def torch_value_and_gradients(function, *arrays):
    arrays = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in arrays]
    value = function(*arrays)
    value.backward(torch.from_numpy(cotangent(value.shape, np.float64)))
    return [x.detach().numpy() for x in (value, *(array.grad for array in arrays))]


def cotangent(shape, dtype):
    return normal(*shape, seed=9).astype(dtype)


def assert_equal(results, expected, rounding):
    for result, truth in zip(results, expected, strict=True):
        assert result.shape == truth.shape
        error = np.abs(np.asarray(result, np.float64) - truth).max()
        assert error < rounding * max(1, np.abs(truth).max())


def torch_geglu(h, bias):
    value, gate = (h + bias).chunk(2, dim=-1)
    return value * torch.nn.functional.gelu(gate)


@pytest.mark.parametrize("shape", SHAPES)
def test_geglu_is_torchs(shape):
    *leading, features = shape
    arrays = 2 * normal(*leading, 2 * features), normal(2 * features, seed=1)

    results = value_and_gradients(tokens.geglu, *arrays)

    assert_equal(results, torch_value_and_gradients(torch_geglu, *arrays), 2e-6)


def test_geglu_is_exact_from_gates_that_open_nothing_to_gates_that_open_all():
    gates = np.linspace(-40, 40, 4096, dtype=np.float32)
    h, bias = np.concatenate([np.ones_like(gates), gates])[None], np.zeros(2 * len(gates))

    y, of_h, _ = value_and_gradients(tokens.geglu, h, bias)

    expected = torch_value_and_gradients(torch_geglu, h, bias)
    rounding = 3e-7 * np.maximum(1, np.abs(gates))
    assert np.all(np.abs(y - expected[0]) < rounding)
    assert np.all(np.abs(of_h - expected[1]) < 3 * np.tile(rounding, 2) * np.abs(cotangent_max()))


def cotangent_max():
    return np.abs(cotangent((1, 4096), np.float64)).max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("std", [1.0, 0.003])  # of a variance of 1e-5 a wrong epsilon would show
def test_layer_norm_is_torchs(shape, std):
    channels = shape[-1]
    arrays = normal(*shape, std=std) + std, normal(channels, seed=1), normal(channels, seed=2)

    results = value_and_gradients(lambda *xs: tokens.layer_norm(*xs, 1e-5), *arrays)

    expected = torch_value_and_gradients(
        lambda x, *params: torch.nn.functional.layer_norm(x, (channels,), *params, 1e-5), *arrays
    )
    assert_equal(results, expected, 3e-6)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (tokens.geglu, [(2, 67, 96), (96,)]),
        (lambda *xs: tokens.layer_norm(*xs, 1e-5), [(2, 67, 48), (48,), (48,)]),
    ],
)
def test_results_in_bfloat16_are_rounded_once(function, shapes):
    arrays = [jnp.asarray(normal(*shape, seed=i), jnp.bfloat16) for i, shape in enumerate(shapes)]

    results = value_and_gradients(function, *arrays, dtype=jnp.bfloat16)

    exact = value_and_gradients(function, *arrays)
    for result, expected in zip(results[:2], exact, strict=False):
        assert result.dtype == jnp.bfloat16
        np.testing.assert_allclose(result.astype(np.float32), expected, rtol=2**-7, atol=2**-7)


def test_a_nan_stays_in_its_token():
    h = jnp.ones((2, 32)).at[0, 20].set(jnp.nan)
    ones = jnp.ones(32)

    for y in (tokens.geglu(h, ones), tokens.layer_norm(h, ones, ones, 1e-5)):
        assert np.isnan(y[0]).any()
        assert np.isfinite(y[1]).all()


@pytest.mark.parametrize(
    ("dtype", "channels", "reason"),
    [
        (jnp.float32, 48, ""),
        (jnp.bfloat16, 48, ""),
        (jnp.float64, 48, "computes in float32, not in float64"),
        (jnp.float32, 40, "takes multiples of 16 channels, not 40"),
    ],
)
def test_what_they_cannot_take_is_said(dtype, channels, reason):
    assert tokens.obstacle(dtype, channels) == reason


@pytest.mark.parametrize(("layer", "program"), [(GEGLU(32), "geglu"), (LayerNorm(), "layer_norm")])
def test_layers_take_them_on_a_cpu_that_has_a_compiler(layer, program, monkeypatch):
    x = jnp.asarray(normal(2, 8, 32))
    variables = layer.init(jax.random.key(0), x)

    def calls():
        return str(jax.make_jaxpr(layer.apply)(variables, x)).count(f"aa_jax_{program}")

    assert calls() == 1
    with attention_kernels.using("xla"):
        assert not calls()
        plain = layer.apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), plain, atol=2e-6)
    monkeypatch.setattr(library, "obstacle", lambda: "needs a C++ compiler")
    assert not calls()
