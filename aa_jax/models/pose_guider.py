"""The Pose Guider: skeleton pictures to features that the denoising UNet adds after `conv_in`."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.config import PoseGuiderConfig
from aa_jax.kernels.convolution import conv3x3

# The paper starts from Gaussian weights.
gaussian = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class PoseGuider(nn.Module):
    """Convolutions from pictures to the size of their latents, ending in zeros.

    The zero-initialised last layer lets training start from the UNet as it is. Two forms:

    - `paper`: 4x4 convolutions, one per width. The paper gives all four the stride 2, which would
      land on 1/16 of the picture where latents are 1/8, so those beyond the VAE factor have
      stride 1.
    - `controlnet`: the hint encoder of ControlNet that MooreThreads/Moore-AnimateAnyone uses: pairs
      of 3x3 convolutions, the second of which widens and strides.

    Attributes:
      features: the denoising UNet's first width.
      downscale_factor: pixels per latent along each side.
    """

    config: PoseGuiderConfig
    features: int
    downscale_factor: int = 8
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pictures: Float[Array, "b t y x 3"]) -> Float[Array, "b t h w c"]:
        """Encodes RGB pictures in 0..1."""
        x = pictures.astype(self.dtype)
        if self.config.kind == "paper":
            return self._paper(x)
        return self._controlnet(x)

    def _paper(self, x: Array) -> Array:
        widths = self.config.block_out_channels
        strides = self._strides(len(widths))
        for i, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            x = nn.Conv(
                width,
                (4, 4),
                strides=(stride, stride),
                padding="SAME",
                kernel_init=gaussian,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )(x)
            x = nn.silu(x)
        return nn.Conv(
            self.features,
            (1, 1),
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="conv_out",
        )(x)

    def _controlnet(self, x: Array) -> Array:
        widths = self.config.block_out_channels
        strides = self._strides(len(widths) - 1)
        x = nn.silu(conv3x3(widths[0], dtype=self.dtype, name="conv_in")(x))
        for i, stride in enumerate(strides):
            x = nn.silu(conv3x3(widths[i], dtype=self.dtype, name=f"blocks_{2 * i}")(x))
            x = conv3x3(
                widths[i + 1], strides=stride, dtype=self.dtype, name=f"blocks_{2 * i + 1}"
            )(x)
            x = nn.silu(x)
        return conv3x3(
            self.features,
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="conv_out",
        )(x)

    def _strides(self, layers: int) -> list[int]:
        """Stride of every layer that may have one: 2 until the VAE factor is reached, then 1."""
        halvings = self.downscale_factor.bit_length() - 1
        if halvings > layers:
            raise ValueError(
                f"model.pose_guider: {len(self.config.block_out_channels)} widths reach 1/"
                f"{2**layers} of the picture, but the VAE factor is {self.downscale_factor}"
            )
        return [2] * halvings + [1] * (layers - halvings)
