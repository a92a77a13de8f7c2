"""Normalisations, computed in float32 whatever the compute dtype and returned in it.

Variances are the mean of squared deviations; the cheaper mean(x²) - mean(x)² loses the small
inputs on which the epsilons matter.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import reduce, repeat
from flax import linen as nn
from jaxtyping import Array, Float


class GroupNorm(nn.Module):
    """GroupNorm whose statistics run over one frame or over all frames of a clip.

    Attributes:
      num_groups: groups of neighbouring channels.
      epsilon: 1e-5 in resnets and before the output convolution, 1e-6 before transformers.
      over_frames: for weights trained with AnimateDiff v1's options.
    """

    num_groups: int
    epsilon: float
    over_frames: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        axes = (1, 2, 3) if self.over_frames else (2, 3)

        def group_means(x: Array) -> Array:
            # Channel by channel first: one sum over both sides of an axis that stays is slow.
            means = x.mean(axes, keepdims=True)
            groups = reduce(means, "b t h w (g d) -> b t h w g", "mean", g=self.num_groups)
            return repeat(groups, "b t h w g -> b t h w (g d)", d=channels // self.num_groups)

        y = _standardize(x.astype(jnp.float32), group_means, self.epsilon)
        return _scale_and_shift(y, scale, bias).astype(x.dtype)


class LayerNorm(nn.Module):
    """LayerNorm over the channels of tokens; epsilon 1e-5 in every block."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        y = _standardize(x.astype(jnp.float32), lambda x: x.mean(-1, keepdims=True), self.epsilon)
        return _scale_and_shift(y, scale, bias).astype(x.dtype)


def _standardize(x: Array, mean: Callable[[Array], Array], epsilon: float) -> Array:
    x = x - mean(x)
    return x * jax.lax.rsqrt(mean(jnp.square(x)) + epsilon)


def _scale_and_shift(x: Array, scale: Array, bias: Array) -> Array:
    broadcast = (1,) * (x.ndim - 1) + (-1,)
    return x * scale.reshape(broadcast) + bias.reshape(broadcast)
