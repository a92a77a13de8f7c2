"""Convolutions of pictures and clips without gradients, in ways that a CPU computes fast."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float


def convolve(
    x: Float[Array, "n *axes c"],
    kernel: Float[Array, "*taps c f"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> Float[Array, "n *axes2 f"]:
    """A convolution over all axes but the first and the last."""
    axes = "DHW"[-(x.ndim - 2) :]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(
        x, kernel, tuple(strides), padding, dimension_numbers=layout
    )
