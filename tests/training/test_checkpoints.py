import contextlib
import dataclasses
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from tiny_run import tiny_config

from aa_jax.training import state
from aa_jax.training.checkpoints import CheckpointError, Checkpoints

CONFIG = tiny_config(save_every=1, keep_checkpoints=5).train


def state_at(step, size=16):
    made = state.create({"net": {"w": jnp.arange(size, dtype=jnp.float32) + step}}, CONFIG)
    return made.replace(step=jnp.int32(step))


def save(workdir, *steps, **size):
    checkpoints = Checkpoints(workdir, CONFIG)
    for step in steps:
        checkpoints.save(step, state_at(step, **size))
    checkpoints.close()


def restore(workdir, abstract=None):
    checkpoints = Checkpoints(workdir, CONFIG)
    restored = checkpoints.restore(abstract or jax.eval_shape(lambda: state_at(0)))
    checkpoints.close()
    return restored


def damage(workdir, step):
    """Cuts every large file of a checkpoint to half, as a full disk or a lost node may."""
    files = [path for path in (workdir / "checkpoints" / str(step)).rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


def test_the_newest_state_comes_back(tmp_path):
    assert restore(tmp_path) is None
    save(tmp_path, 1, 2)
    assert int(restore(tmp_path).step) == 2


def test_the_newest_are_kept(tmp_path):
    """None is "the best": by a metric that is NaN orbax 0.12.8 may delete it."""
    config = dataclasses.replace(CONFIG, keep_checkpoints=2)
    with contextlib.closing(Checkpoints(tmp_path, config)) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, state_at(step))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"3", "4"}


def test_after_a_save_the_next_step_takes_the_states_place(tmp_path):
    """Until orbax 0.12.8 has written it from a CPU's memory, its donation would be dropped."""
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    now = step(state.create({"net": {"w": jnp.zeros(2**22)}}, CONFIG))
    with contextlib.closing(Checkpoints(tmp_path, CONFIG)) as checkpoints:
        for number in (1, 2, 3):
            place = now.params["net"]["w"].unsafe_buffer_pointer()
            checkpoints.save(number, now)
            now = step(now)
            assert now.params["net"]["w"].unsafe_buffer_pointer() == place


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, capsys):
    save(tmp_path, 1, 2, 3)
    damage(tmp_path, 3)
    restored = restore(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, restored, state_at(2))
    warning = capsys.readouterr().err
    assert "checkpoints/3 cannot be read" in warning
    assert "going on from step 2" in warning
    assert (tmp_path / "checkpoints" / "3.damaged").is_dir()
    save(tmp_path, 3)  # its name is free again
    assert int(restore(tmp_path).step) == 3


def test_where_none_can_be_read_nothing_is_touched(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"cannot be read .* move the folder away"):
        restore(tmp_path)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"1", "2"} <= names


def test_a_state_is_restored_onto_another_mesh(tmp_path):
    save(tmp_path, 4)
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(mesh, P("data") if x.ndim else P())
        ),
        jax.eval_shape(lambda: state_at(0)),
    )
    restored = restore(tmp_path, abstract)
    assert restored.params["net"]["w"].sharding.shard_shape((16,)) == (2,)
    jax.tree.map(np.testing.assert_array_equal, restored, state_at(4))


# Orbax closes its event loop at the first failed write, and does not wait for the others.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_is_one_line_and_the_last_checkpoint_stays(tmp_path):
    """A limit on the size of files stands in for the end of the disk."""
    size = 2**20
    noise = jax.random.normal(jax.random.key(0), (size,))  # does not compress
    big = state.create({"net": {"w": noise}}, CONFIG)

    def save_big(step):
        with contextlib.closing(Checkpoints(tmp_path, CONFIG)) as checkpoints:
            checkpoints.save(step, big.replace(step=jnp.int32(step)))

    save_big(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written .* step 1 is whole") as error:
            save_big(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    restored = restore(tmp_path, jax.eval_shape(lambda: big))
    assert int(restored.step) == 1
    np.testing.assert_array_equal(restored.params["net"]["w"], noise)
