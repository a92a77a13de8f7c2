"""CPU kernels of attention are exact at their own limits, and one serves without a compiler."""

import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import OWN, R, expected, inputs, value_and_gradients
from native_code import needs_compiler

from aa_jax.kernels.attention import attention
from aa_jax.kernels.cpu import attention as cpu_attention
from aa_jax.kernels.cpu.native import library


@pytest.mark.parametrize("lengths", [None, [R, OWN]])
def test_heads_may_take_their_queries_in_blocks(lengths, monkeypatch):
    monkeypatch.setattr(cpu_attention, "MOST_QUERIES", 32)  # of 96
    monkeypatch.setattr(cpu_attention, "FEWEST_QUERIES", 32)
    arrays, seen = inputs(40), lengths and jnp.asarray(lengths)

    results = value_and_gradients(cpu_attention.by_head, *arrays, seen)

    for result, truth in zip(results, expected(*arrays, lengths), strict=True):
        np.testing.assert_allclose(result, truth, atol=3e-6)


@needs_compiler
@pytest.mark.parametrize(
    ("head_dim", "queries", "keys"), [(1, 63, 65), (20, 1, 1), (33, 130, 257), (256, 65, 63)]
)
def test_native_attention_takes_any_lengths_and_channels(head_dim, queries, keys):
    arrays = inputs(head_dim, lengths=(queries, keys, keys, queries))
    seen = [keys, (keys + 1) // 2]

    results = value_and_gradients(cpu_attention.native, *arrays, jnp.asarray(seen))

    for result, truth in zip(results, expected(*arrays, seen), strict=True):
        np.testing.assert_allclose(result, truth, atol=5e-6)
    for gradient in results[2:]:
        assert not np.any(gradient[1, seen[1] :])


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


def test_without_a_compiler_long_sequences_take_one_head_at_a_time(taken, monkeypatch):
    monkeypatch.setattr(library, "obstacle", lambda *_: "needs a C++ compiler")
    q = jnp.ones((1, 128, 1, 8))

    attention(q, q, q)

    assert taken == ["by_head"]
