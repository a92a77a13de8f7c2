"""Products of matrices in bfloat16 pieces are as exact as in float32."""

import numpy as np
import pytest
from native_code import needs_matrix_unit
from parity import normal

from aa_jax.kernels.cpu.native import library, products

SHAPES = [(1, 1, 1), (5, 7, 9), (33, 31, 65), (64, 1100, 48), (300, 64, 320)]
"""Rows, depth and columns: parts of a block; more depth than is packed at a time; many tasks."""

TURNS = [(False, False), (True, False), (False, True), (True, True)]


def multiply(a, b, turned_a=False, turned_b=False):
    a, b = np.float32(a), np.float32(b)
    turned = a.T if turned_a else a, b.T if turned_b else b
    return np.asarray(
        products.multiply(*map(np.ascontiguousarray, turned), turned_a=turned_a, turned_b=turned_b)
    )


@needs_matrix_unit
@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_as_exact_as_in_float32(shape, turned):
    rows, depth, columns = shape
    a, b = normal(rows, depth), normal(depth, columns, seed=1)
    a, b = a.astype(np.float32).astype(np.float64), b.astype(np.float32).astype(np.float64)

    result = multiply(a, b, *turned)

    assert result.shape == (rows, columns)
    assert np.all(np.abs(result - a @ b) <= 2.0**-22 * (np.abs(a) @ np.abs(b)))


@needs_matrix_unit
def test_digits_of_one_product_are_float32s():
    """Without a sum, what the pieces leave out is all that is lost."""
    a, b = np.float32(normal(4000)), np.float32(normal(4000, seed=1))
    result = np.diag(multiply(a[:, None], b[None]))
    exact = np.float64(a) * np.float64(b)
    assert np.abs(result / exact - 1).max() < 2.0**-22


@needs_matrix_unit
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_small_and_large_numbers_keep_their_digits(scale):
    a, b = normal(40, 64), normal(64, 40, seed=1)
    expected = np.float64(np.float32(a * scale)) @ np.float64(np.float32(b))
    error = np.abs(multiply(a * scale, b) - expected).max()
    assert error < 1e-6 * np.abs(expected).max()


@needs_matrix_unit
@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7FFFFFFF, 0x7F800001])
def test_what_is_not_finite_stays_so_in_its_row(bits):
    a, b = np.float32(normal(40, 64)), normal(64, 40, seed=1)
    a[3, 5] = np.uint32(bits).view(np.float32)
    finite = np.isfinite(multiply(a, b)).all(axis=1)
    assert np.flatnonzero(~finite).tolist() == [3]


@needs_matrix_unit
def test_a_row_does_not_depend_on_the_others():
    a, b = normal(700, 96), normal(96, 64, seed=1)
    whole = multiply(a, b)
    np.testing.assert_array_equal(whole, multiply(a, b))
    np.testing.assert_array_equal(whole[:40], multiply(a[:40], b))


def test_what_cannot_be_multiplied_is_told(monkeypatch):
    monkeypatch.setattr(library, "obstacle", lambda: "")
    monkeypatch.setattr(library, "has_matrix_unit", lambda: False)
    assert "float32, not bfloat16" in products.obstacle("bfloat16")
    assert "AMX" in products.obstacle(np.float32)
