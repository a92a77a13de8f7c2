"""ImageNet's ResNet-50, and the 1x1 convolutions that make a reference of its features.

The network is torchvision's (stride in the 3x3 convolution); its batch norms, which are affine maps
once trained, are folded into one scale and one bias per channel by the converter.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.config import ReferenceConfig, UNetConfig
from aa_jax.kernels import sharding
from aa_jax.kernels.convolution import Conv1x1

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in 0..1, by channel."""

EXPANSION = 4
"""Widths of a stage's output per width inside its bottlenecks."""

FIRST_STRIDE = 4
"""Pixels per feature of the first stage along each side; every further stage doubles it."""

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class Affine(nn.Module):
    """A batch norm in use: a scale and a bias per channel."""

    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        return x * _per_channel(scale, x) + _per_channel(bias, x)


def _per_channel(values: Array, x: Array) -> Array:
    return values.astype(x.dtype).reshape(1, 1, 1, -1)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around which the input is added, itself projected if needed.

    From random numbers it starts as no more than the projection, since nothing normalises here.
    """

    width: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        features = EXPANSION * self.width
        y = nn.relu(Affine(name="bn1")(self._conv(self.width, 1, 1, "conv1")(x)))
        y = nn.relu(Affine(name="bn2")(self._conv(self.width, 3, self.stride, "conv2")(y)))
        y = self._conv(features, 1, 1, "conv3")(y)
        y = Affine(nn.initializers.zeros, name="bn3")(y)
        if self.stride != 1 or x.shape[-1] != features:
            x = self._conv(features, 1, self.stride, "downsample_0")(x)
            x = Affine(name="downsample_1")(x)
        return nn.relu(x + y)

    def _conv(self, features: int, size: int, stride: int, name: str) -> nn.Conv:
        return _conv(features, size, stride, self.dtype, name)


def _conv(features: int, size: int, stride: int, dtype: DTypeLike, name: str) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=size // 2,
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
        name=name,
    )


class ImageResNet(nn.Module):
    """The four stages' outputs; no classifier."""

    config: ReferenceConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pictures: Float[Array, "b y x 3"]) -> list[Float[Array, "b h w c"]]:
        """Features of RGB pictures in 0..1, at strides of 4, 8, 16 and 32 pixels."""
        width = self.config.resnet_width
        x = (pictures - np.asarray(MEAN, "f4").reshape(1, 1, 1, 3)) / np.asarray(STD, "f4").reshape(
            1, 1, 1, 3
        )
        x = _conv(width, 7, 2, self.dtype, "conv1")(x.astype(self.dtype))
        x = nn.relu(Affine(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        stages = []
        for i, blocks in enumerate(self.config.resnet_layers):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                x = Bottleneck(width * 2**i, stride, self.dtype, name=f"layer{i + 1}_{j}")(x)
            stages.append(x)
        return stages


class Projection(nn.Module):
    """1x1 convolutions from the stages to the widths of the UNet's levels.

    A level reads the stage of its own stride, or the nearest, resized to its size where they
    differ.

    Attributes:
      stride: pixels per latent along each side.
    """

    config: UNetConfig
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, stages: list[Float[Array, "b h w c"]], height: int, width: int
    ) -> dict[str, Float[Array, "b s d"]]:
        """Tokens by the path of every transformer block.

        Args:
          stages: what `ImageResNet` returns.
          height: of the latents.
          width: of the latents.
        """
        levels: dict[str, Array] = {}
        for path, level in transformer_levels(self.config).items():
            name = "mid" if path.startswith("mid_block") else f"levels_{level}"
            if name not in levels:
                stage = (self.stride * 2**level // FIRST_STRIDE).bit_length() - 1
                x = stages[min(max(stage, 0), len(stages) - 1)]
                x = Conv1x1(self.config.block_out_channels[level], self.dtype, name=name)(x)
                # Levels of odd size are rounded up on the way down.
                size = (-(-height // 2**level), -(-width // 2**level))
                levels[name] = _resized(x, size)
        return {
            path: levels["mid" if path.startswith("mid_block") else f"levels_{level}"]
            for path, level in transformer_levels(self.config).items()
        }


def _resized(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b s c"]:
    if x.shape[1:3] != size:
        x = jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "linear")
    return sharding.constrain(rearrange(x, "b h w c -> b (h w) c"), *sharding.TOKENS)


def transformer_levels(config: UNetConfig) -> dict[str, int]:
    """Level of every transformer block of a UNet, by the block's parameter path."""
    levels = len(config.block_out_channels)
    last, blocks = levels - 1, {"mid_block/attentions_0": levels - 1}
    for level in range(levels):
        if config.attention_levels[level]:
            for i in range(config.layers_per_block):
                blocks[f"down_blocks_{level}/attentions_{i}"] = level
            for i in range(config.layers_per_block + 1):
                blocks[f"up_blocks_{last - level}/attentions_{i}"] = level
    return {f"{path}/transformer_blocks_0": level for path, level in blocks.items()}
