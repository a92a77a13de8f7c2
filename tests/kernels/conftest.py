"""Which kernels a test's calls of attention take."""

import pytest

from aa_jax.kernels.attention import KERNELS, Kernel


@pytest.fixture
def taken(monkeypatch):
    """Names of the kernels that are called."""
    names = []

    def recording(name, kernel):
        def attend(*args):
            names.append(name)
            return kernel.attend(*args)

        return Kernel(attend, kernel.obstacle)

    for name, kernel in KERNELS.items():
        monkeypatch.setitem(KERNELS, name, recording(name, kernel))
    return names
