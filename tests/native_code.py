"""For tests of C++, which a machine without a compiler cannot run."""

import pytest

from aa_jax.native import library

needs_compiler = pytest.mark.skipif(
    bool(library.obstacle()), reason=f"native code {library.obstacle()}"
)
