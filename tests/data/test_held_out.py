import dataclasses

import numpy as np
from skimage.morphology import dilation
from tiny_run import tiny_config

from aa_jax.data.dataset import open_dataset
from aa_jax.data.held_out import REFERENCE_FRAME, held_out_clips
from aa_jax.puppets import clips as puppets


def clips(seed=0, size=32):
    config = tiny_config()
    data = dataclasses.replace(config.data, width=size, height=size)
    config = dataclasses.replace(config, data=data)
    return held_out_clips(config, seed=seed, characters=2, frames=3)


def test_shapes():
    shapes = [(part.shape, part.dtype.name) for part in clips()]
    assert shapes == [
        ((2, 32, 32, 3), "uint8"),
        ((2, 3, 32, 32, 3), "uint8"),
        ((2, 3, 32, 32, 3), "uint8"),
        ((2, 3, 32, 32), "bool"),
    ]


def test_masks_cover_the_character_in_target_and_reference():
    """Beyond its soft edge the background is all there is, so that both pictures agree."""
    held = clips(size=64)
    for character in range(2):
        for frame in range(3):
            inside = held.masks[character, frame]
            outside = ~dilation(inside, np.ones((5, 5)))
            difference = np.abs(
                held.targets[character, frame].astype(int) - held.references[character]
            )
            assert difference[outside].max() <= 2
            assert difference[inside].max() > 50


def test_a_seed_names_the_characters():
    np.testing.assert_array_equal(clips().targets, clips().targets)
    assert (clips(seed=1).references != clips().references).any()
    clip = puppets.make_clip("eval", 0, 1)
    picture, _ = clip.render([REFERENCE_FRAME], 32, 32)
    np.testing.assert_array_equal(picture[0], clips().references[1])


def test_clips_of_a_dataset_stand_in_where_training_uses_one(jpeg_dataset):
    """Without a test split they are training clips, as many as there are."""
    config = tiny_config()
    data = dataclasses.replace(config.data, source=str(jpeg_dataset), width=32, height=32)
    config = dataclasses.replace(config, data=data)
    held = held_out_clips(config, seed=0, characters=5, frames=4)
    dataset = open_dataset(jpeg_dataset, "train")
    for index in range(len(dataset)):
        clip = dataset.clip(index)
        expected = clip.pictures([clip.length - 1, 0, 1, 2, 3], (32, 32))
        np.testing.assert_array_equal(held.references[index], expected[0])
        np.testing.assert_array_equal(held.targets[index], expected[1:])
        joints = clip.keypoints(range(4), (32, 32)).body.astype(int)
        for mask, points in zip(held.masks[index], joints, strict=True):
            assert mask[points[:, 1], points[:, 0]].all()
            assert mask.mean() < 0.9
    assert held.references.shape == (3, 32, 32, 3)
