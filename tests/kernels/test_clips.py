"""Layers over pictures and clips compute what jax's convolutions and windows do.

Winograd's transforms lose 2e-6 of a result's deviation, and 1e-4 of its largest number is far less
than anything a metric shows.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from native_code import needs_compiler

from aa_jax.kernels import clips
from aa_jax.kernels.cpu.native import library

CASES = {
    "pictures, F(4x4)": ((2, 17, 14, 24), (3, 3), 32, (1, 1), ((1, 1), (1, 1))),
    "pictures, stride": ((2, 17, 14, 3), (11, 11), 64, (4, 4), ((2, 2), (2, 2))),
    "pictures, row": ((1, 9, 12, 20), (1, 7), 48, (1, 1), "SAME"),
    "pictures, valid": ((1, 9, 12, 20), (3, 3), 80, (2, 2), "VALID"),
    "clips, F(4x4) and F(2)": ((2, 5, 13, 12, 24), (3, 3, 3), 32, (1, 1, 1), "SAME"),
    "clips, stride": ((2, 5, 9, 8, 3), (7, 7, 7), 64, (2, 2, 2), "SAME"),
    "clips, few pixels": ((1, 2, 7, 7, 16), (3, 3, 3), 128, (1, 1, 1), "SAME"),
    "clips, 1x1x1": ((1, 2, 7, 6, 20), (1, 1, 1), 112, (1, 1, 1), "SAME"),
    "clips, features no vector": ((1, 3, 7, 6, 20), (3, 3, 3), 24, (1, 1, 1), "SAME"),
}
"""Shape of x, kernel, features, strides, padding."""


@needs_compiler
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("case", CASES)
def test_convolutions_agree_with_jax(case, relu):
    shape, size, features, strides, padding = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    kernel = rng.standard_normal((*size, shape[-1], features), np.float32)
    bias = rng.standard_normal(features).astype(np.float32)

    def layer(x, kernel, bias):
        return clips.convolve(x, kernel, bias, strides, padding, relu=relu)

    fast = jax.jit(layer)(x, kernel, bias)
    with library.without(library.Part.CONVOLUTION):
        plain = jax.jit(lambda *arrays: layer(*arrays))(x, kernel, bias)
    assert fast.shape == plain.shape
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), "SAME"),
        ((1, 3, 3), (1, 2, 2), "SAME"),
        ((2, 2, 2), (2, 2, 2), "VALID"),
        ((3, 3, 3), (2, 2, 2), ((1, 1), (1, 1), (1, 1))),
    ],
)
def test_maxima_of_windows_agree_with_flax(size, strides, padding):
    x = -jnp.abs(jax.random.normal(jax.random.key(0), (2, 5, 9, 8, 3)))  # zeros would show
    ours = clips.max_pool(x, size, strides, padding)
    np.testing.assert_array_equal(ours, nn.max_pool(x, size, strides=strides, padding=padding))
