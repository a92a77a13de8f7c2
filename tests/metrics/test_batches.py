"""Samples are divided among devices, a few at a time, and none is lost or doubled."""

import jax
import numpy as np
import pytest

from aa_jax.metrics.batches import Program


@pytest.mark.parametrize("count", [1, 3, 8, 37])
def test_every_sample_has_its_result(count):
    seen = []

    def function(params, x, y, extra):
        seen.append(x.shape)
        return x.sum((1, 2)) * params["scale"] + y + extra

    x = np.random.default_rng(0).random((count, 4, 5), np.float32)
    y = np.arange(count, dtype=np.float32)
    program = Program(function, {"scale": np.float32(3)})
    found = program(x, y, extra=(np.float32(7),), size=2)
    np.testing.assert_allclose(found, x.sum((1, 2)) * 3 + y + 7, rtol=1e-5)
    assert len(seen) == 1  # one program, whatever is left at the end
    assert seen[0][0] <= 2
    assert len(jax.local_devices()) == 8
