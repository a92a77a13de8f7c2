import dataclasses

import numpy as np
from skimage.morphology import dilation
from tiny_run import tiny_config

from aa_jax.data import puppets
from aa_jax.data.held_out import REFERENCE_FRAME, held_out_clips


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
