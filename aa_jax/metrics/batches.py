"""Networks over many pictures or clips: a few at a time, divided among the devices there are.

The program is compiled for one number of samples; what is left at the end is filled up with copies
of the last sample, whose results are dropped. Memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from aa_jax.metrics.errors import MetricError


class Program:
    """A function of samples with parameters, on this machine's devices."""

    def __init__(self, function: Callable[..., Array], params: Any):
        """Puts the parameters onto the devices.

        Args:
          function: (params, *samples [n, ...], *extra) -> [n, ...], each sample for itself.
          params: tree of arrays.
        """
        devices = jax.local_devices()
        self._count = len(devices)
        self._mesh = jax.make_mesh((self._count,), ("data",), (AxisType.Auto,), devices=devices)
        self._params = jax.device_put(params, NamedSharding(self._mesh, P()))

        def on_every_device(params: Any, samples: tuple[Array, ...], extra: Any) -> Array:
            return function(params, *samples, *extra)

        if self._count > 1:
            divided, whole = P("data"), P()
            on_every_device = jax.shard_map(
                on_every_device,
                mesh=self._mesh,
                in_specs=(whole, divided, whole),
                out_specs=divided,
                check_vma=False,  # our kernels do not state how results vary
            )
        self._function = jax.jit(on_every_device)

    def __call__(
        self, *samples: np.ndarray, extra: tuple[np.ndarray, ...] = (), size: int
    ) -> np.ndarray:
        """The function's results for all samples.

        Args:
          samples: arrays [n, ...].
          extra: further arguments, the same for all samples.
          size: how many samples a device takes at a time.
        """
        total = len(samples[0])
        # Few numbers of samples, so that few programs are compiled.
        size = min(size, 1 << (-(-total // self._count) - 1).bit_length()) * self._count
        parts = []
        for start in range(0, total, size):
            part = [x[start : start + size] for x in samples]
            missing = size - len(part[0])
            if missing:
                part = [np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in part]
            placed = jax.device_put(tuple(part), NamedSharding(self._mesh, P("data")))
            results = self._function(self._params, placed, extra)
            parts.append(np.asarray(results)[: size - missing])
        return np.concatenate(parts)


def check_pairs(targets: np.ndarray, results: np.ndarray) -> None:
    """Raises `MetricError` unless both are 8-bit RGB of one size, and not nothing."""
    for name, x in (("targets", targets), ("results", results)):
        check_pictures(name, x)
    if targets.shape != results.shape:
        raise MetricError(f"targets {targets.shape} and results {results.shape} differ in shape")


def check_pictures(name: str, x: np.ndarray) -> None:
    """Raises `MetricError` unless the array is 8-bit RGB of at least one picture."""
    if x.dtype != np.uint8 or x.ndim not in (4, 5) or x.shape[-1] != 3:
        raise MetricError(f"{name} must be 8-bit RGB [..., h, w, 3], not {x.dtype} {x.shape}")
    if not x.size:
        raise MetricError(f"{name} hold no picture")
