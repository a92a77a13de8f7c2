"""The bundled example is a character of the evaluation split that no evaluation seed's first 64
clips contain; this is also how it was made."""

import importlib.resources

import numpy as np

from aa_jax.media import pictures
from aa_jax.pose.keypoints import Keypoints
from aa_jax.puppets import clips as puppets

ASSETS = importlib.resources.files("aa_jax") / "assets"
CLIP = puppets.make_clip("eval", 0, 1003)


def test_the_bundled_reference_is_a_frame_of_the_puppet_world():
    expected, _ = CLIP.render([40], 256, 256)
    found = pictures.read_picture(str(ASSETS / "reference.png"))
    assert np.abs(found.astype(int) - expected[0]).mean() < 1


def test_the_other_bundled_clip_is_a_walk():
    clip = puppets.make_clip("eval", 0, 1004)
    poses, expected = Keypoints.load(str(ASSETS / "walk.npz")), clip.keypoints(range(36), 256, 256)
    assert (clip.motion.family, len(poses), poses.fps) == ("walk", 36, expected.fps)
    np.testing.assert_allclose(poses.body, expected.body, atol=1e-3)


def test_the_bundled_poses_are_a_clip_of_24_frames():
    poses, expected = Keypoints.load(str(ASSETS / "poses.npz")), CLIP.keypoints(range(24), 256, 256)
    assert len(poses.body) == 24
    assert poses.fps == expected.fps
    np.testing.assert_allclose(poses.body, expected.body, atol=1e-3)
