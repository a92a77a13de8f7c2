import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from aa_jax.training import chips, flops


def count(function, *shapes):
    return flops.count(jax.jit(function).trace(*[jnp.zeros(shape) for shape in shapes]).jaxpr)


def test_products_and_convolutions_count_a_multiply_add_as_two():
    assert count(lambda a, b: a @ b, (3, 4), (4, 5)) == 2 * 3 * 4 * 5

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    # 4x4 outputs, each of 3x3 taps, 5 channels in and 7 out.
    assert count(convolve, (2, 8, 8, 5), (3, 3, 5, 7)) == 2 * (2 * 4 * 4) * 9 * 5 * 7
    # The gradient by the input spreads zeros between its own inputs, which cost nothing.
    gradient = jax.grad(lambda x, kernel: convolve(x, kernel).sum())
    assert count(gradient, (2, 8, 8, 5), (3, 3, 5, 7)) == 2 * (2 * 4 * 4) * 9 * 5 * 7


def test_a_loop_counts_as_often_as_it_runs_and_recomputation_counts():
    def loop(x):
        return jax.lax.scan(lambda x, _: (x @ x, None), x, length=5)[0]

    assert count(loop, (4, 4)) == 5 * 2 * 4**3

    def loss(x):
        return jnp.sin(x @ x).sum()

    # The product, and two for its gradients; then the product once more.
    assert count(jax.value_and_grad(loss), (4, 4)) == 3 * 2 * 4**3
    assert count(jax.value_and_grad(jax.checkpoint(loss)), (4, 4)) == 4 * 2 * 4**3


def test_what_reaches_no_result_does_not_count():
    assert count(lambda a, b: (a @ b, a + 1)[1], (3, 4), (4, 5)) == 0


def test_what_devices_do_each_counts_for_all():
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))

    def each(x):
        return jax.shard_map(
            lambda x: x @ jnp.ones((4, 4)), mesh=mesh, in_specs=P("data"), out_specs=P("data")
        )(x)

    assert count(each, (16, 4)) == 2 * 16 * 4 * 4


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100-40"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("TPU v4", "TPU v4"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
    ],
)
def test_chips_are_found_by_the_name_jax_gives_them(kind, name):
    assert chips.find(kind) == chips.CHIPS[name]


def test_an_unknown_chip_has_no_peak():
    assert chips.find("cpu") is None
