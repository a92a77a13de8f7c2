"""Normalisations, computed in float32 whatever the compute dtype and returned in it.

Variances are the mean of squared deviations; the cheaper mean(x²) - mean(x)² loses the small
inputs on which the epsilons matter.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
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
        y = rearrange(x.astype(jnp.float32), "b t h w (g d) -> b t h w g d", g=self.num_groups)
        y = _standardize(y, (1, 2, 3, 5) if self.over_frames else (2, 3, 5), self.epsilon)
        y = rearrange(y, "b t h w g d -> b t h w (g d)")
        return _scale_and_shift(y, scale, bias).astype(x.dtype)


class LayerNorm(nn.Module):
    """LayerNorm over the channels of tokens; epsilon 1e-5 in every block."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        y = _standardize(x.astype(jnp.float32), (-1,), self.epsilon)
        return _scale_and_shift(y, scale, bias).astype(x.dtype)


def _standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    x = x - x.mean(axes, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axes, keepdims=True) + epsilon)


def _scale_and_shift(x: Array, scale: Array, bias: Array) -> Array:
    broadcast = (1,) * (x.ndim - 1) + (-1,)
    return x * scale.reshape(broadcast) + bias.reshape(broadcast)
