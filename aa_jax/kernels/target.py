"""Which device a program is traced for.

Known while tracing, unlike the platform of a lowering: `jax.lax.platform_dependent` would trace the
forms of all platforms, and differentiate them with residuals of each.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax

from aa_jax.kernels import sharding


class Target(NamedTuple):
    """Devices of a kind.

    Attributes:
      platform: `cpu`, `gpu`, `tpu`.
      capability: CUDA compute capability of the GPUs, such as 9.0; 0: they are not NVIDIA's.
    """

    platform: str
    capability: float = 0.0


def target() -> Target:
    """That of the program being traced: of its mesh, else the default device."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        device = jax.config.jax_default_device or jax.devices()[0]
    platform = device if isinstance(device, str) else device.platform
    return Target(platform, _capability() if platform == "gpu" else 0.0)


_shared_forms = False


@contextlib.contextmanager
def shared_forms() -> Iterator[None]:
    """Traces what all devices compute, without the forms that only a CPU is fast at."""
    global _shared_forms
    before, _shared_forms = _shared_forms, True
    try:
        yield
    finally:
        _shared_forms = before


def on_one_cpu() -> bool:
    """Whether the program being traced takes the forms of a single CPU."""
    return not _shared_forms and target().platform == "cpu" and not sharding.on_mesh()


@functools.cache
def _capability() -> float:
    try:
        return float(jax.local_devices(backend="cuda")[0].compute_capability)
    except RuntimeError:
        return 0.0
