import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax.config import DataConfig
from aa_jax.data import loader
from aa_jax.data.dataset import open_dataset
from aa_jax.pose import drawing


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


def from_dataset(folder, first_step=0, last_step=3, hosts=(0, 1), latents=None, **data):
    config = tiny_config()
    settings = {"width": 16, "height": 16, "source": str(folder), **data}
    host, hosts = hosts
    return list(
        loader.batches(
            DataConfig(**settings),
            config.skeleton,
            config.model,
            batch_size=4,
            first_step=first_step,
            last_step=last_step,
            latents=latents,
            host=host,
            hosts=hosts,
        )
    )


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_dataset_gives_batches_like_the_puppet_world(jpeg_dataset):
    drawn, read = batches(0, 1, frames=4)[0], from_dataset(jpeg_dataset, frames=4)[0]
    for name, value in drawn.items():
        assert (read[name].shape[1:], read[name].dtype) == (value.shape[1:], value.dtype)
    assert (read["skeleton"].max((1, 2, 3, 4)) > 100).all()


def test_examples_are_frames_of_one_clip_with_their_own_skeletons(jpeg_dataset):
    """Every reference and target is found among the frames of the same clip."""
    dataset = open_dataset(jpeg_dataset, "train")
    clips = [dataset.clip(i) for i in range(len(dataset))]
    frames = [clip.pictures(range(clip.length), (16, 16)) for clip in clips]
    style = tiny_config().skeleton
    for batch in from_dataset(jpeg_dataset, frames=3):
        for reference, targets, skeleton in zip(
            batch["reference"], batch["target"], batch["skeleton"], strict=True
        ):
            (clip,) = [i for i, f in enumerate(frames) if (f == reference).all((1, 2, 3)).any()]
            numbers = [int((frames[clip] == t).all((1, 2, 3)).argmax()) for t in targets]
            assert np.diff(numbers).tolist() == [1, 1]
            np.testing.assert_array_equal(frames[clip][numbers], targets)
            keypoints = clips[clip].keypoints(numbers, (16, 16))
            expected = drawing.draw_keypoints(keypoints, 16, 16, style)
            np.testing.assert_array_equal(skeleton, expected)


def test_both_storages_draw_the_same_examples(jpeg_dataset, mp4_dataset):
    for ours, theirs in zip(from_dataset(jpeg_dataset), from_dataset(mp4_dataset), strict=True):
        np.testing.assert_array_equal(ours["skeleton"], theirs["skeleton"])
        assert np.abs(ours["target"].astype(int) - theirs["target"]).mean() < 8  # JPEG and H.264


def test_hosts_share_a_batch_without_overlap(jpeg_dataset):
    whole = from_dataset(jpeg_dataset)
    shares = [from_dataset(jpeg_dataset, hosts=(host, 2)) for host in range(2)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert_same(batch, {n: np.concatenate([part[n] for part in parts]) for n in batch})
    with pytest.raises(ValueError, match="does not divide over 3 hosts"):
        from_dataset(jpeg_dataset, hosts=(0, 3))


def test_worker_processes_read_the_same_batches_of_a_dataset(jpeg_dataset):
    ours, theirs = from_dataset(jpeg_dataset, num_workers=2), from_dataset(jpeg_dataset)
    for pair in zip(ours, theirs, strict=True):
        assert_same(*pair)


def test_batches_of_buckets_have_one_size_each_and_keep_the_aspect(jpeg_dataset):
    """The three clips have aspect ratios 1, 3:2 and 2:3, and so has every bucket one clip."""
    sizes = ("16x16", "24x16", "16x24")
    found = from_dataset(jpeg_dataset, last_step=12, buckets=sizes)
    shapes = [batch["target"].shape[2:4] for batch in found]
    assert set(shapes) == {(16, 16), (16, 24), (24, 16)}
    again = from_dataset(jpeg_dataset, first_step=7, last_step=12, buckets=sizes)
    for pair in zip(again, found[7:], strict=True):
        assert_same(*pair)
    dataset = open_dataset(jpeg_dataset, "train")
    for batch in found:
        height, width = batch["reference"].shape[1:3]
        clip = [(16, 16), (24, 16), (16, 24)].index((width, height))
        clip = dataset.clip(clip)
        frames = clip.pictures(range(clip.length), (width, height))
        for reference in batch["reference"]:
            assert (frames == reference).all((1, 2, 3)).any()


def test_stride_and_gap_follow_the_frame_rate():
    """At 12 frames per second asked for, a clip of 30 has every 2.5th frame taken."""
    rng = np.random.default_rng(0)
    config = DataConfig(width=16, height=16, frames=5, fps=12.0)
    _, targets = loader.draw_frames(rng, config, 60, fps=30.0)
    assert (targets - targets[0]).tolist() == [0, 2, 5, 8, 10]
    config = DataConfig(width=16, height=16, fps=12.0, min_frame_gap=4)
    gaps = []
    for _ in range(100):
        reference, (target,) = loader.draw_frames(rng, config, 60, fps=30.0)
        gaps.append(abs(reference - target))
    assert min(gaps) == 10


@pytest.mark.parametrize("stored", [24000 / 1001, np.float32(24000 / 1001), 23.976])
@pytest.mark.parametrize("asked", [24000 / 1001, 23.976])
def test_rates_are_equal_within_their_rounding(stored, asked):
    """float32's 23.976024628 over 24000/1001 asked for a gap of 4.0000001 frames, which is 5."""
    config = DataConfig(width=16, height=16, min_frame_gap=4, fps=asked)
    gaps = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        reference, (target,) = loader.draw_frames(rng, config, 20, fps=float(stored))
        gaps.add(abs(reference - target))
    assert min(gaps) == 4


def test_half_frames_are_taken_alike_whatever_the_rounding():
    config = DataConfig(width=16, height=16, frames=24, fps=60000 / 1001)
    drawn = [
        loader.draw_frames(np.random.default_rng(0), config, 60, fps=float(fps))[1].tolist()
        for fps in (30000 / 1001, np.float32(30000 / 1001), 29.97)
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_clip_shorter_than_the_run_repeats_its_last_frame():
    config = DataConfig(width=16, height=16, frames=6)
    _, targets = loader.draw_frames(np.random.default_rng(0), config, 4)
    assert targets.tolist() == [0, 1, 2, 3, 3, 3]
