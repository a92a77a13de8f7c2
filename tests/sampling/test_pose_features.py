"""Pose features are worked out once where they can be kept, and are the same where not."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE

from aa_jax.sampling import long_video, pose_features
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.pose_features import PoseFeatures, encode_poses
from aa_jax.sampling.windows import Windows

PIPELINE = Pipeline(MODEL, SCHEDULE)
STEPS = 3


class Recorded:
    """Eleven skeletons, and the indices of those that were asked for."""

    def __init__(self):
        self.pictures = np.random.default_rng(2).integers(0, 256, (11, 16, 24, 3), np.uint8)
        self.shape, self.asked = self.pictures.shape, []

    def __getitem__(self, frames):
        self.asked += np.ravel(frames).tolist()
        return self.pictures[frames]


def animate(params, reference):
    """Frames, and the indices of the skeletons that they took."""
    skeletons, windows = Recorded(), Windows(frames=4, overlap=2)
    settings = {"windows": windows, "steps": STEPS, "guidance_scale": 1.0}
    frames = long_video.animate(PIPELINE, params, reference, skeletons, **settings)
    return np.concatenate(list(frames)).astype(int), skeletons.asked


def test_skeletons_are_encoded_once_where_their_features_can_be_kept(
    params, reference, monkeypatch
):
    kept, asked_once = animate(params, reference)
    monkeypatch.setattr(pose_features, "KEPT", 0)
    not_kept, asked_in_every_step = animate(params, reference)

    assert asked_once == [*range(11), 10]  # in chunks of four
    for frame in range(11):
        assert asked_in_every_step.count(frame) >= STEPS
    assert np.abs(kept - not_kept).max() <= 1


def test_so_are_they_where_the_disk_is_full(params, monkeypatch):
    def no_room(self, features):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PoseFeatures, "append", no_room)
    skeletons = Recorded()

    assert encode_poses(PIPELINE, params, skeletons, chunk=4) is skeletons


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_frames_are_read_as_they_were_written(dtype):
    frames = np.random.default_rng(0).normal(size=(7, 2, 3, 4)).astype(dtype)
    features = PoseFeatures((2, 3, 4), dtype)

    features.append(frames[:5])
    features.append(frames[5:])

    for indices in ([6], [0, 3, 3], [[5, 1], [2, 6]]):
        read = features[np.asarray(indices)]
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, frames[np.asarray(indices)])
