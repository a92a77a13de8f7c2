"""Figures of many pairs of clips by one protocol, a clip at a time: memory does not grow with them.

    scores = Scores(protocol, networks)
    for name, target, result in ...:
        scores.add(name, target, result)        # uint8 [t, h, w, 3], as `prepared` makes them
    result = scores.result("system")

Of a clip only its means stay, and 400 numbers per window for the interval of the FVD.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from aa_jax.evaluation.errors import EvaluationError
from aa_jax.evaluation.networks import Networks
from aa_jax.experiments import intervals
from aa_jax.experiments.results import Result
from aa_jax.metrics import frames as by_protocol
from aa_jax.metrics import frechet, lpips
from aa_jax.metrics.protocols import Protocol

Clip = UInt8[np.ndarray, "t h w 3"]

WINDOWS_AT_ONCE = 8
"""Windows of a clip whose frames are copied together for a network."""

LIBRARIES = ("aa_jax", "jax", "jaxlib", "numpy", "scikit-image", "opencv-python-headless", "pillow")

SPREAD = ("fvd",)
"""Fréchet distances with an interval. FID and FID-VID have none: it would take every clip's
covariance of 2048 dimensions."""


class Scores:
    """Sums over clips."""

    def __init__(
        self,
        protocol: Protocol,
        networks: Networks,
        *,
        true_features: dict[tuple[str, str], np.ndarray] | None = None,
    ):
        """Of no clips yet.

        Args:
          protocol: how to measure.
          networks: what to measure with.
          true_features: shared by several systems with the same targets, whose features then are
            computed once; windows' only.
        """
        self._protocol, self._networks = protocol, networks
        self._true = true_features
        self._clips: list[dict[str, Any]] = []
        self._missing = dict(networks.missing)
        self._statistics = {
            name: (frechet.Statistics(network.width), frechet.Statistics(network.width))
            for name, network in networks.features.items()
        }
        self._spread: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {n: [] for n in SPREAD}

    def add(self, name: str, target: Clip, result: Clip, **others: float) -> None:
        """Measures a pair of prepared clips.

        Args:
          name: of the clip.
          target: true frames.
          result: generated ones.
          others: further figures of this clip; one that is no number leaves all clips without.

        Raises:
          MetricError: the frames differ in size or number, or are too small for a metric.
          EvaluationError: a figure is no number.
        """
        protocol = self._protocol
        figures = {
            metric: float(np.mean(values))
            for metric, values in by_protocol.frame_metrics(protocol, target, result).items()
        }
        smaller = min(target.shape[1:3])
        for metric, distance in self._networks.distances.items():
            if smaller < lpips.SMALLEST[distance.network]:
                self._missing[metric] = (
                    f"frames of {smaller} pixels a side are smaller than the "
                    f"{lpips.SMALLEST[distance.network]} that it needs"
                )
            if metric in self._missing:
                continue
            values = distance(target, result, zero_to_one=protocol.lpips_zero_to_one)
            figures[metric] = float(values.mean())
        for metric, value in figures.items():
            if not np.isfinite(value):
                raise EvaluationError(f"clip {name}: {metric} is {value}; its frames are broken")
        for metric, value in others.items():
            if np.isfinite(value):
                figures[metric] = float(value)
            else:  # the mean of nothing, such as of a background that no clip's frames have
                self._missing[metric] = f"clip {name} has nothing to measure it on"
        for metric in self._networks.features:
            self._add_features(metric, name, target, result)
        self._clips.append({"name": name, "frames": len(target), **figures})

    def _add_features(self, metric: str, name: str, target: Clip, result: Clip) -> None:
        if metric in self._missing:
            return
        network = self._networks.features[metric]
        if network.takes == "pictures":
            for statistics, clip in zip(self._statistics[metric], (target, result), strict=True):
                statistics.update(network(clip))
            return
        if not by_protocol.clip_starts(self._protocol, len(target)):
            self._missing[metric] = (
                f"clip {name} has {_frames(len(target))}, fewer than the "
                f"{self._protocol.clip_length} of a window"
            )
            return
        true = self._windows_features(metric, target, key=name)
        ours = self._windows_features(metric, result)
        for statistics, features in zip(self._statistics[metric], (true, ours), strict=True):
            statistics.update(features)
        if metric in SPREAD:
            self._spread[metric].append((true, ours))

    def _windows_features(
        self, metric: str, clip: Clip, key: str | None = None
    ) -> Float[np.ndarray, "k d"]:
        shared = self._true if key is not None else None
        if shared is not None and (metric, key) in shared:
            return shared[metric, key]
        network, windows = self._networks.features[metric], by_protocol.clips(self._protocol, clip)
        features = np.concatenate(
            [network(np.stack(some)) for some in _batched(windows, WINDOWS_AT_ONCE)]
        )
        if shared is not None:
            shared[metric, key] = features
        return features

    def result(
        self, name: str, *, report: Callable[[str], None] = lambda line: None, **about: Any
    ) -> Result:
        """The figures of all clips so far.

        Args:
          name: of the system.
          report: called with a line for each metric that could not be computed and why, beyond
            those without networks.
          about: further fields of `Result`.
        """
        if not self._clips:
            raise EvaluationError(f"{name}: no clip was compared")
        weights = np.ones(len(self._clips))
        if self._protocol.pooled == "frames":
            weights = np.array([clip["frames"] for clip in self._clips], np.float64)
        metrics: dict[str, float | None] = {}
        spread: dict[str, intervals.Interval | None] = {}
        measured = [metric for metric in self._clips[0] if metric not in ("name", "frames")]
        for metric in measured:
            if metric in self._missing:
                continue
            values = np.array([clip[metric] for clip in self._clips])
            metrics[metric] = _mean(values, weights)
            spread[metric] = intervals.of_mean(values, weights)
        for metric in ("lpips_alex", "lpips_vgg", *self._statistics, *self._missing):
            metrics.setdefault(metric, None)
            spread.setdefault(metric, None)
        for metric in self._statistics:
            self._distance(metric, metrics, spread)
        for metric, why in self._missing.items():
            if metric not in self._networks.missing:
                report(f"note: {metric} of {name} is left out: {why}")
        order = [*_ORDER, *(metric for metric in metrics if metric not in _ORDER)]
        return Result(
            name=name,
            protocol=self._protocol.name,
            clips=len(self._clips),
            frames=int(sum(clip["frames"] for clip in self._clips)),
            metrics={metric: metrics[metric] for metric in order if metric in metrics},
            intervals={metric: spread[metric] for metric in order if metric in spread},
            per_clip=tuple(self._clips),
            missing=self._missing,
            versions=versions(),
            weights={**self._networks.hashes, **about.pop("weights", {})},
            settings={"protocol": self._protocol.as_dict(), **about.pop("settings", {})},
            **about,
        )

    def _distance(self, metric: str, metrics: dict, spread: dict) -> None:
        true, ours = self._statistics[metric]
        if metric not in self._missing and true.count < 2:
            what = {"pictures": "picture", "clips": "window"}
            kind = what[self._networks.features[metric].takes]
            self._missing[metric] = f"there is one {kind} in all, and a covariance needs two"
        if metric in self._missing:
            return
        metrics[metric] = frechet.distance(true, ours, name=metric.upper().replace("_", "-"))
        if metric in SPREAD:
            pairs = self._spread[metric]
            spread[metric] = intervals.of_frechet(
                [a for a, _ in pairs], [b for _, b in pairs], metrics[metric]
            )


_ORDER = (
    *("psnr", "psnr_disco_uint8", "ssim", "l1", "lpips_alex", "lpips_vgg", "fvd", "fid", "fid_vid"),
)


def versions() -> dict[str, str]:
    """Of the libraries that a figure depends on."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            found[library] = ""
    return found


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    # About the first value: equal ones have exactly that mean.
    return float(values[0] + ((values - values[0]) * weights).sum() / weights.sum())


def _batched(items: Iterator[Clip], size: int) -> Iterator[list[Clip]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
