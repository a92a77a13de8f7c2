"""Networks whose features of pictures or clips make distributions, for Fréchet distances."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Array, Float, UInt8

from aa_jax.metrics import batches, weights
from aa_jax.metrics.errors import MetricError


@dataclasses.dataclass(frozen=True)
class Features:
    """A network with weights: 8-bit RGB to features, all preparation included.

    Attributes:
      network: its name in `weights.NETWORKS`.
      width: numbers per sample.
      origin: where the weights are from.
      takes: `pictures` [n, h, w, 3] or `clips` [n, t, h, w, 3].
      program: the network on this machine's devices.
      at_once: pictures or clips that go through it together.
      fewest_frames: of a clip.
    """

    network: str
    width: int
    origin: weights.Origin
    takes: Literal["pictures", "clips"]
    program: batches.Program = dataclasses.field(repr=False)
    at_once: int
    fewest_frames: int = 1

    @classmethod
    def load(
        cls,
        network: str,
        function: Callable[..., Array],
        expected: weights.Params,
        path: str | Path | None,
        **about: Any,
    ) -> Features:
        """A network with the weights of a file, or of the first place that has some.

        Args:
          network: its name in `weights.NETWORKS`.
          function: (parameters, samples) -> features.
          expected: shapes of the parameters.
          path: of the file; None: wherever there are weights.
          about: `width`, `takes`, `at_once`, perhaps `fewest_frames`.

        Raises:
          MetricUnavailable: there are none; the message names what to install or to give.
          MetricError: the file is damaged or of another network.
        """
        params, origin = weights.load(network, expected, path)
        return cls(network, origin=origin, program=batches.Program(function, params), **about)

    def __call__(self, samples: UInt8[np.ndarray, "n *t h w 3"]) -> Float[np.ndarray, "n d"]:
        """Features of every sample, in float32.

        Raises:
          MetricError: the samples are not what the network takes, or clips are too short.
        """
        batches.check_pictures(self.takes, samples)
        if samples.ndim != (4 if self.takes == "pictures" else 5):
            raise MetricError(f"{self.network} takes {self.takes}, not an array {samples.shape}")
        if self.takes == "clips" and samples.shape[1] < self.fewest_frames:
            raise MetricError(
                f"{self.network} needs clips of {self.fewest_frames} frames at least; these have "
                f"{samples.shape[1]}"
            )
        return self.program(samples, size=self.at_once)
