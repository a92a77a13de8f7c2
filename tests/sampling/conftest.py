"""Inputs of the sampling tests."""

import numpy as np
import pytest
from tiny_model import MODEL, random_params


@pytest.fixture(scope="session")
def params():
    return random_params(MODEL)


@pytest.fixture(scope="session")
def reference():
    return np.random.default_rng(1).integers(0, 256, (20, 18, 3), np.uint8)


@pytest.fixture(scope="session")
def skeletons():
    """Four frames, not square."""
    return np.random.default_rng(2).integers(0, 256, (4, 16, 24, 3), np.uint8)
