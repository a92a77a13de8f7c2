import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P
from tiny_run import tiny_config

from aa_jax.config import ConfigError, MeshConfig
from aa_jax.training import partitioning
from aa_jax.training.partitioning import AXES


def on_mesh(data, fsdp, context, *, frames=1, zero1=True, **train):
    """The rules on an abstract mesh; arrays of 64 numbers are already divided."""
    config = tiny_config(batch_size=8, **train)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, frames=frames),
        mesh=MeshConfig(zero1=zero1),
    )
    made = partitioning.partitioning_on(AbstractMesh((data, fsdp, context), AXES), config)
    return dataclasses.replace(made, min_size=64)


# Shapes as they occur: a bias, convolutions, a projection wider than long, an odd one.
SHAPES = [(16,), (3, 3, 16, 32), (1, 1, 32, 32), (16, 128), (7, 9)]
GOLDEN = {
    # mesh: parameters, moments
    (8, 1, 1): (
        [P(), P(), P(), P(), P()],
        [P(), P(None, None, None, "data"), P(None, None, None, "data"), P(None, "data"), P()],
    ),
    (1, 8, 1): (
        [P(), P(None, None, None, "fsdp"), P(None, None, None, "fsdp"), P(None, "fsdp"), P()],
        [P(), P(None, None, None, "fsdp"), P(None, None, None, "fsdp"), P(None, "fsdp"), P()],
    ),
    (2, 2, 2): (
        [P(), P(None, None, None, "fsdp"), P(None, None, None, "fsdp"), P(None, "fsdp"), P()],
        [
            P(),
            P(None, None, "context", ("fsdp", "data")),
            P(None, None, "data", ("fsdp", "context")),
            P(None, ("fsdp", "data", "context")),
            P(),
        ],
    ),
}


@pytest.mark.parametrize("sizes", GOLDEN)
def test_large_arrays_are_divided_along_their_largest_dimension(sizes):
    rules = on_mesh(*sizes)
    params, moments = GOLDEN[sizes]
    assert [rules.param_spec(shape) for shape in SHAPES] == params
    assert [rules.moment_spec(shape) for shape in SHAPES] == moments


def test_without_zero1_moments_lie_as_their_parameters():
    rules = on_mesh(2, 2, 2, zero1=False)
    for shape in SHAPES:
        assert rules.moment_spec(shape) == rules.param_spec(shape)


def test_context_divides_frames_or_where_there_is_one_the_batch():
    stage1 = on_mesh(2, 2, 2)
    assert stage1.batch_spec("target") == P(("data", "fsdp", "context"))
    stage2 = on_mesh(4, 1, 2, frames=4, accumulation_steps=2)
    assert stage2.batch_spec("target") == P(("data", "fsdp"), "context")
    assert stage2.batch_spec("reference") == P(("data", "fsdp"))


def test_the_table_counts_bytes_per_device():
    rules = on_mesh(2, 4, 1)
    tree = {"net": {"kernel": np.zeros((16, 128), np.float32), "bias": np.zeros(128, np.float32)}}
    rows = {row[0]: row[1:] for row in partitioning.table(rules, tree)}
    assert rows["net.kernel"] == ((16, 128), P(None, "fsdp"), 16 * 128 * 4 // 4)
    assert rows["net.bias"] == ((128,), P("fsdp"), 128)
    text = partitioning.format_table(partitioning.table(rules, tree, rules.moment_spec))
    assert "-,fsdp+data" in text
    assert text.splitlines()[-1].split() == ["sum", f"{16 * 128 * 4 // 8 + 64:,}"]


@pytest.mark.parametrize(
    ("mesh", "frames", "train", "message"),
    [
        ((3, 1, 1), 1, {}, r"batch_size=4 .* does not divide over 3 devices"),
        ((4, 1, 1), 1, {"accumulation_steps": 2}, "give a multiple of 8"),
        ((1, 1, 16), 1, {"batch_size": 16}, "needs 16 devices, there are 8"),
        ((1, 1, 3), 4, {}, r"mesh.context=3 does not divide the 4 frames"),
        ((2, 1, 2), 4, {}, r"give train.accumulation_steps=2"),
    ],
)
def test_a_mesh_that_does_not_fit_the_run_is_refused_in_one_line(mesh, frames, train, message):
    config = tiny_config(**train)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, frames=frames),
        mesh=MeshConfig(**dict(zip(AXES, mesh, strict=True))),
    )
    with pytest.raises(ConfigError, match=message) as error:
        partitioning.make_partitioning(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("batch_size", "data"), [(1, 1), (4, 4), (6, 6), (12, 6), (16, 8)])
def test_by_default_as_many_devices_as_the_batch_divides_over(batch_size, data):
    config = dataclasses.replace(tiny_config(batch_size=batch_size), mesh=MeshConfig())
    assert dict(partitioning.make_partitioning(config).mesh.shape)["data"] == data


def test_a_mesh_is_written_as_on_the_command_line():
    assert partitioning.parse_mesh("data=4,fsdp=2", MeshConfig()) == MeshConfig(data=4, fsdp=2)
    assert partitioning.parse_mesh("", MeshConfig(context=2)) == MeshConfig(context=2)
    for text in ("data:4", "model=2", "data=x"):
        with pytest.raises(ConfigError, match="looks like data=4"):
            partitioning.parse_mesh(text, MeshConfig())


def test_arrays_are_placed_whole_and_come_back_whole():
    config = dataclasses.replace(tiny_config(batch_size=8), mesh=MeshConfig(data=2, fsdp=4))
    rules = dataclasses.replace(partitioning.make_partitioning(config), min_size=64)
    tree = {"w": np.arange(16 * 12, dtype=np.float32).reshape(16, 12)}
    placed = rules.place_params(tree)
    assert placed["w"].sharding.shard_shape((16, 12)) == (4, 12)
    np.testing.assert_array_equal(rules.gather(placed)["w"], tree["w"])
    batch = {"target": np.arange(8 * 3, dtype=np.int32).reshape(8, 3)}
    rows = rules.place_batch(batch, 8)["target"]
    assert rows.sharding.shard_shape((8, 3)) == (1, 3)
    np.testing.assert_array_equal(jax.device_get(rows), batch["target"])
    assert rules.hosts(8) == (0, 1)
