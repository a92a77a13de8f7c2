"""For tests of C++, which not every machine can run."""

import numpy as np
import pytest

from aa_jax.kernels.cpu.native import library, products

needs_compiler = pytest.mark.skipif(
    bool(library.obstacle()), reason=f"native code {library.obstacle()}"
)

needs_matrix_unit = pytest.mark.skipif(
    bool(products.obstacle(np.float32)), reason=f"C++ {products.obstacle(np.float32)}"
)
