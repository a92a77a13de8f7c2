"""For tests of C++, which not every machine can run."""

import pytest

from aa_jax.kernels.cpu.native import library

OBSTACLE = library.obstacle(library.Part.ATTENTION)

needs_compiler = pytest.mark.skipif(bool(OBSTACLE), reason=f"native code {OBSTACLE}")
