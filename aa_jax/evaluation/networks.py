"""The networks that metrics need, loaded once; those whose weights are missing are told, each once.

networks = Networks.load()
networks.missing                # {"fid": "FID: no weights here; python -m convert ..."}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

from aa_jax.metrics import i3d, inception, lpips, resnet3d
from aa_jax.metrics.errors import MetricUnavailable
from aa_jax.metrics.features import Features
from aa_jax.metrics.lpips import Lpips

LOADERS: dict[str, Callable[[], Any]] = {
    "lpips_alex": lambda: lpips.load("alex"),
    "lpips_vgg": lambda: lpips.load("vgg"),
    "fvd": i3d.load,
    "fid": inception.load,
    "fid_vid": resnet3d.load,
}
"""By the metric that needs one."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """What is there to measure with.

    Attributes:
      distances: `lpips_alex` and `lpips_vgg`, of pictures.
      features: `fvd`, `fid` and `fid_vid`, of clips or pictures, for Fréchet distances.
      missing: why a metric has no network, by metric.
    """

    distances: dict[str, Lpips]
    features: dict[str, Features]
    missing: dict[str, str]

    @classmethod
    def load(
        cls,
        wanted: tuple[str, ...] = tuple(LOADERS),
        report: Callable[[str], None] = lambda line: None,
    ) -> Self:
        """Loads the networks of some metrics.

        Args:
          wanted: metrics, of `LOADERS`.
          report: called with a line for each that has no weights on this machine.

        Raises:
          MetricError: a file of weights is damaged or of another network.
        """
        distances, features, missing = {}, {}, {}
        for name in wanted:
            try:
                network = LOADERS[name]()
            except MetricUnavailable as error:
                missing[name] = str(error)
                report(f"note: {name} is left out: {error}")
                continue
            (distances if isinstance(network, Lpips) else features)[name] = network
        return cls(distances, features, missing)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the weights by metric."""
        return {name: x.origin.sha256 for name, x in (self.distances | self.features).items()}
