import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax.config import DataConfig
from aa_jax.data import loader


def batches(first_step, last_step, frames=1, **data):
    config = tiny_config()
    return list(
        loader.batches(
            DataConfig(width=16, height=16, clips=20, frames=frames, **data),
            config.skeleton,
            config.model,
            batch_size=3,
            first_step=first_step,
            last_step=last_step,
        )
    )


def test_a_batch_has_ids_pictures_and_skeletons():
    (batch,) = batches(0, 1, frames=4)
    shapes = {name: (value.shape, value.dtype.name) for name, value in batch.items()}
    assert shapes == {
        "example_id": ((3,), "uint32"),
        "reference": ((3, 16, 16, 3), "uint8"),
        "clip_pixels": ((3, 8, 8, 3), "float32"),
        "target": ((3, 4, 16, 16, 3), "uint8"),
        "skeleton": ((3, 4, 16, 16, 3), "uint8"),
    }


def test_a_run_resumed_at_a_step_sees_what_the_uninterrupted_one_sees():
    whole, rest = batches(0, 4), batches(2, 4)
    assert [list(b["example_id"]) for b in rest] == [[6, 7, 8], [9, 10, 11]]
    for ours, theirs in zip(rest, whole[2:], strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_worker_processes_give_the_same_batches():
    for ours, theirs in zip(batches(0, 3, num_workers=2), batches(0, 3), strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_another_data_seed_gives_other_examples():
    assert (batches(0, 1)[0]["target"] != batches(0, 1, seed=1)[0]["target"]).any()


@pytest.mark.parametrize(("clip_frames", "least"), [(64, 10), (12, 6), (2, 1)])
def test_reference_and_target_keep_their_distance(clip_frames, least):
    """Short clips shrink the gap to what they can give."""
    rng = np.random.default_rng(0)
    config = DataConfig(width=16, height=16, min_frame_gap=10)
    gaps = []
    for _ in range(200):
        reference, targets = loader.draw_frames(rng, config, clip_frames)
        assert 0 <= reference < clip_frames
        assert 0 <= targets[0] < clip_frames
        gaps.append(abs(reference - targets[0]))
    assert min(gaps) >= least


def test_a_clip_has_its_stride_and_stays_inside():
    rng = np.random.default_rng(0)
    config = DataConfig(width=16, height=16, frames=5, frame_stride=3)
    for _ in range(100):
        _, targets = loader.draw_frames(rng, config, 20)
        assert (np.diff(targets) == 3).all()
        assert 0 <= targets[0] <= targets[-1] < 20
