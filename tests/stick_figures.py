"""Stick figures with known bones, for tests of what is done to keypoints."""

import numpy as np

from aa_jax.pose.bones import BONE_KINDS
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.layout import BODY_LIMBS, HAND_BONES

TYPICAL = {
    "shoulder": 18.0,
    "upper arm": 28.0,
    "forearm": 25.0,
    "trunk": 55.0,
    "thigh": 42.0,
    "shin": 40.0,
    "neck to nose": 22.0,
    "nose to eye": 5.0,
    "eye to ear": 7.0,
    "hand": 6.0,
}
_KIND = {limb: name for name, limbs in BONE_KINDS.items() for limb in limbs}
# Directions of a person who stands facing us with hanging arms; 0 points right, 90 down.
_STANDING = (180, 0, 100, 95, 80, 85, 105, 92, 90, 75, 88, 90, -90, 225, 200, 315, -20)


def random_proportions(rng, spread=0.25):
    """Bone lengths that differ from the typical ones by up to e^spread each way."""
    return {name: v * np.exp(rng.uniform(-spread, spread)) for name, v in TYPICAL.items()}


def moving_figure(rng, frames, lengths=TYPICAL, foreshortening=0.0, size=(400, 400), sway=50.0):
    """A clip of a figure with constant bones and smooth random motion.

    Args:
      foreshortening: how much a bone may look shorter than it is, at most, as a share.
      sway: degrees by which bones swing about the standing pose.
    """
    t = np.arange(frames)[:, None] / max(frames, 1)

    def smooth(count):  # [frames, count], -1 to 1
        return np.sin(2 * np.pi * (rng.uniform(1, 3, count) * t + rng.uniform(0, 1, count)))

    directions = np.deg2rad(np.array(_STANDING) + sway * smooth(len(BODY_LIMBS)))
    visible = 1 - foreshortening * (0.5 + 0.5 * smooth(len(BODY_LIMBS)))
    body = np.zeros((frames, 18, 2))
    body[:, 1] = np.array(size) * [0.5, 0.4] + 15 * smooth(2)
    for limb, (start, end) in enumerate(BODY_LIMBS):
        length = lengths[_KIND[start, end]] * visible[:, limb]
        step = np.stack([np.cos(directions[:, limb]), np.sin(directions[:, limb])], -1)
        body[:, end] = body[:, start] + length[:, None] * step
    hands = np.zeros((frames, 2, 21, 2))
    for hand, wrist in enumerate((7, 4)):
        hands[:, hand, 0] = body[:, wrist]
        angles = np.deg2rad(70 + 10 * np.arange(20) + 20 * smooth(20))
        for bone, (start, end) in enumerate(HAND_BONES):
            step = np.stack([np.cos(angles[:, bone]), np.sin(angles[:, bone])], -1)
            hands[:, hand, end] = hands[:, hand, start] + lengths["hand"] * step
    face = body[:, :1] + rng.uniform(-8, 8, (68, 2))
    return Keypoints(
        body=body,
        body_scores=np.ones((frames, 18)),
        width=size[0],
        height=size[1],
        fps=24,
        hands=hands,
        hand_scores=np.ones((frames, 2, 21)),
        face=face,
        face_scores=np.ones((frames, 68)),
    )


def limb_lengths(keypoints):
    """[t, 17] lengths of the limbs, pixels."""
    start, end = np.array(BODY_LIMBS).T
    return np.linalg.norm(keypoints.body[:, end] - keypoints.body[:, start], axis=-1)
