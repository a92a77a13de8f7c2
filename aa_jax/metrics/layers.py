"""What the metrics' networks are built of: convolutions of pictures and clips, and pooling."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from aa_jax.kernels import clips
from aa_jax.kernels.clips import Padding


class Conv(nn.Module):
    """A convolution with bias, and a ReLU behind it unless told otherwise.

    Attributes:
      features: channels of the result.
      size: of the kernel: height and width, of clips also frames before these.
      strides: along the same axes; 1 by default.
      padding: along the same axes.
      relu: whether what is negative becomes zero.
    """

    features: int
    size: Sequence[int]
    strides: Sequence[int] | None = None
    padding: Padding = "SAME"
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n *axes c"]) -> Float[Array, "n *axes2 f"]:
        shape = (*self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        strides = self.strides or (1,) * len(self.size)
        return clips.convolve(x, kernel, bias, strides, self.padding, relu=self.relu)


def max_pool(
    x: Float[Array, "n *axes c"],
    size: Sequence[int],
    strides: Sequence[int],
    padding: Padding = "VALID",
) -> Float[Array, "n *axes2 c"]:
    """The largest number of every window; what is padded is smaller than all."""
    return clips.max_pool(x, size, strides, padding)


def average_pool(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n h w c"]:
    """Means of windows around every pixel, of the pixels that are there (as TensorFlow's)."""
    window, ones = (size, size), (1, 1)
    return nn.avg_pool(x, window, strides=ones, padding="SAME", count_include_pad=False)
