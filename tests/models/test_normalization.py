"""GroupNorm and LayerNorm against PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from parity import normal

from aa_jax.models.normalization import GroupNorm, LayerNorm

# Inputs of standard deviation 0.003 have a variance of 1e-5: a wrong epsilon would show.
SCALES = [1.0, 0.003]


def weights(channels):
    return {"scale": jnp.asarray(normal(channels, seed=1)), "bias": jnp.asarray(normal(channels))}


@pytest.mark.parametrize("std", SCALES)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-6])
def test_group_norm_per_frame_is_torchs_on_single_frames(std, epsilon):
    x, params = normal(2, 3, 4, 5, 8, std=std), weights(8)

    y = GroupNorm(4, epsilon).apply({"params": params}, jnp.asarray(x))

    frames = torch.from_numpy(x.reshape(6, 4, 5, 8)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.group_norm(
        frames, 4, *(torch.from_numpy(np.array(params[k])) for k in ("scale", "bias")), epsilon
    )
    expected = expected.permute(0, 2, 3, 1).reshape(x.shape)
    np.testing.assert_allclose(y, expected, atol=5e-6)


def test_group_norm_over_frames_is_torchs_on_clips():
    x, params = normal(2, 3, 4, 5, 8), weights(8)

    y = GroupNorm(4, 1e-5, over_frames=True).apply({"params": params}, jnp.asarray(x))

    expected = torch.nn.functional.group_norm(
        torch.from_numpy(x).permute(0, 4, 1, 2, 3),
        4,
        *(torch.from_numpy(np.array(params[k])) for k in ("scale", "bias")),
        1e-5,
    )
    np.testing.assert_allclose(y, expected.permute(0, 2, 3, 4, 1), atol=5e-6)


@pytest.mark.parametrize("std", SCALES)
def test_layer_norm_is_torchs(std):
    x, params = normal(2, 3, 8, std=std), weights(8)

    y = LayerNorm().apply({"params": params}, jnp.asarray(x))

    expected = torch.nn.functional.layer_norm(
        torch.from_numpy(x),
        (8,),
        *(torch.from_numpy(np.array(params[k])) for k in ("scale", "bias")),
    )
    np.testing.assert_allclose(y, expected, atol=5e-6)


def test_bfloat16_input_is_normed_in_float32():
    x = jnp.asarray(normal(1, 2, 4, 4, 8) + 10, jnp.bfloat16)
    norm, params = GroupNorm(4, 1e-5), weights(8)

    y = norm.apply({"params": params}, x)

    expected = norm.apply({"params": params}, x.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
