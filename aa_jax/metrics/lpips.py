"""LPIPS: how different two pictures look to a trained network (Zhang et al. 2018), version 0.1.

    distance = lpips.load("alex")
    distance(targets, results)          # uint8 [n, h, w, 3] twice -> [n], 0 for equal pictures

Features of five layers are scaled to length one per pixel; squared differences, weighted by channel
as people judged, are averaged over pixels and summed over layers. Numbers are those of the PyTorch
package `lpips` 0.1.4.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from aa_jax.metrics import batches, weights
from aa_jax.metrics.errors import MetricError
from aa_jax.metrics.layers import Conv, max_pool

Name = Literal["alex", "vgg"]
Pictures = UInt8[np.ndarray, "n h w 3"]

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What is taken from pictures from -1 to 1, and what they are then divided by."""

SMALLEST = {"alex": 31, "vgg": 16}
"""Pixels along the shorter side, below which a layer has none left."""

PIXELS_AT_ONCE = {"alex": 2**21, "vgg": 2**18}
"""Of targets and as many of results that go through the network together."""


class AlexNet(nn.Module):
    """The convolutions of AlexNet (Krizhevsky 2014); gives the five layers' features."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Float[Array, "n h2 w2 c"]]:
        two, one = ((2, 2), (2, 2)), ((1, 1), (1, 1))
        first = Conv(64, (11, 11), (4, 4), two, name="conv_0")(x)
        second = Conv(192, (5, 5), padding=two, name="conv_1")(max_pool(first, (3, 3), (2, 2)))
        third = Conv(384, (3, 3), padding=one, name="conv_2")(max_pool(second, (3, 3), (2, 2)))
        fourth = Conv(256, (3, 3), padding=one, name="conv_3")(third)
        return [first, second, third, fourth, Conv(256, (3, 3), padding=one, name="conv_4")(fourth)]


class VGG16(nn.Module):
    """The convolutions of VGG16 (Simonyan and Zisserman 2014); the last features of each size."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Float[Array, "n h2 w2 c"]]:
        features, index = [], 0
        for channels, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            if features:
                x = max_pool(x, (2, 2), (2, 2))
            for _ in range(layers):
                x = Conv(channels, (3, 3), padding=((1, 1), (1, 1)), name=f"conv_{index}")(x)
                index += 1
            features.append(x)
        return features


class Distance(nn.Module):
    """A trunk and the weights of its channels.

    Attributes:
      trunk: `alex` or `vgg`.
    """

    trunk: Name

    @nn.compact
    def __call__(
        self, a: Float[Array, "n h w 3"], b: Float[Array, "n h w 3"]
    ) -> Float[Array, " n"]:
        """Distances of pictures with numbers from -1 to 1."""
        network = {"alex": AlexNet, "vgg": VGG16}[self.trunk]
        total = jnp.zeros(len(a))
        features = network(name="trunk")(_scaled(jnp.concatenate([a, b])))
        for index, x in enumerate(features):
            x = x / (jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) + 1e-10)
            first, second = jnp.split(x, 2)
            head = self.param(f"head_{index}", nn.initializers.uniform(), (x.shape[-1],))
            weighted = jnp.matmul(jnp.square(first - second), head, precision="highest")
            total += weighted.mean((1, 2))
        return total


def _scaled(x: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    return (x - jnp.array(SHIFT).reshape(1, 1, 1, 3)) / jnp.array(SCALE).reshape(1, 1, 1, 3)


@dataclasses.dataclass(frozen=True)
class Lpips:
    """LPIPS with a network's weights.

    Attributes:
      network: `alex` or `vgg`.
      origin: where the weights are from.
      program: the network on this machine's devices.
    """

    network: Name
    origin: weights.Origin
    program: batches.Program = dataclasses.field(repr=False)

    def __call__(
        self, targets: Pictures, results: Pictures, *, zero_to_one: bool = False
    ) -> Float[np.ndarray, " n"]:
        """Distance of every pair, in float64.

        Args:
          targets: true pictures.
          results: as many of the same size.
          zero_to_one: give the network numbers from 0 to 1 instead of -1 to 1, which it was trained
            on; so DisCo's tables were made.

        Raises:
          MetricError: the sizes differ, or the pictures are too small.
        """
        batches.check_pairs(targets, results)
        height, width = targets.shape[1:3]
        if min(height, width) < SMALLEST[self.network]:
            raise MetricError(
                f"LPIPS ({self.network}) needs pictures of {SMALLEST[self.network]} pixels a side; "
                f"these are {width}x{height}"
            )
        size = max(PIXELS_AT_ONCE[self.network] // (height * width), 1)
        low = np.float32(0.0 if zero_to_one else -1.0)
        return self.program(targets, results, extra=(low,), size=size).astype(np.float64)


def load(network: Name = "alex", path: str | Path | None = None) -> Lpips:
    """LPIPS with the weights of a file, or of the first place that has some.

    Raises:
      MetricUnavailable: there are none; the message names what to install or to give.
      MetricError: the file is damaged or of another network.
    """
    module, name = Distance(network), f"lpips-{network}"
    params, origin = weights.load(name, expected(network), path)

    def function(params: object, targets: Array, results: Array, low: Array) -> Array:
        def scaled(x: Array) -> Array:
            return x.astype(jnp.float32) / 255 * (1 - low) + low

        distances = module.apply({"params": params}, scaled(targets), scaled(results))
        # Equal pictures differ by rounding where they lie at different places of a batch.
        return jnp.where((targets == results).all((1, 2, 3)), 0.0, distances)

    return Lpips(network, origin, batches.Program(function, params))


def expected(network: Name) -> weights.Params:
    """Shapes of a network's parameters."""
    picture = np.zeros((1, 64, 64, 3), np.float32)
    return weights.shapes_of(Distance(network), picture, picture)
