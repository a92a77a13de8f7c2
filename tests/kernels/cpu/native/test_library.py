"""Parts of the library can be left out, one by one, of what is traced."""

import jax
import jax.numpy as jnp
import pytest
from native_code import needs_compiler

from aa_jax.kernels.attention import attention
from aa_jax.kernels.convolution import conv3x3
from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Part

pytestmark = needs_compiler


def programs():
    """Parts of which a program of attention and a convolution holds C++."""
    q = jnp.zeros((1, 128, 1, 40))
    pictures = jnp.zeros((1, 64, 64, 32))
    layer = conv3x3(32)
    params = layer.init(jax.random.key(0), pictures)
    text = str(
        jax.make_jaxpr(lambda *a: (attention(*a[:3]), layer.apply(*a[3:])))(
            q, q, q, params, pictures
        )
    )
    names = {Part.ATTENTION: "aa_jax_attention_forward", Part.CONVOLUTION: "aa_jax_convolve"}
    return {part for part, name in names.items() if name in text}


@pytest.mark.parametrize("left_out", [(), (Part.ATTENTION,), (Part.CONVOLUTION,), tuple(Part)])
def test_what_is_left_out_is_traced_without_cpp(left_out):
    jax.clear_caches()
    with library.without(*left_out):
        assert programs() == set(Part) - set(left_out)
    jax.clear_caches()
    assert programs() == set(Part)


def test_an_obstacle_is_said_in_words_that_follow_a_name():
    assert library.obstacle(Part.ATTENTION) == ""
    assert library.obstacle(Part.ATTENTION, jnp.float64) == "computes in float32, not in float64"
    with library.without(Part.ATTENTION):
        assert library.obstacle(Part.ATTENTION) == "is left out of attention"
        assert library.obstacle(Part.CONVOLUTION) == ""
