"""Strict numerics for every test: 8 CPU devices, no silent promotion of dtypes or ranks."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Tests compile far more than they compute.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# The diffusers and transformers hubs are never asked for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import pytest
from absl import flags

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags


def pytest_collection_modifyitems(config, items):
    """Leaves tests marked `slow`, `multiprocess`, `browser` to `pytest -m` with that name."""
    asked = config.getoption("-m")
    left_out = [mark for mark in ("slow", "multiprocess", "browser") if mark not in asked]
    deselected = [item for item in items if any(map(item.get_closest_marker, left_out))]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture
def key():
    return jax.random.key(0)
