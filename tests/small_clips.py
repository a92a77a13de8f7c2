"""Small clips for tests of evaluation: a picture that moves, and the same one pixel off."""

import numpy as np

from aa_jax.media import pictures


def moving(frames=2, side=96):
    """Frames of smooth colours with a red box that moves."""
    y, x = np.mgrid[0:side, 0:side] / side
    clip = []
    for t in range(frames):
        waves = [
            np.sin(2 * np.pi * ((c + 2) * x + (3 - c) * y + 0.1 * t)) / 2 + 0.5 for c in range(3)
        ]
        picture = np.stack(waves, -1)
        picture[20:60, 30 + 5 * t : 50 + 5 * t] = (0.9, 0.2, 0.1)
        clip.append((picture * 255).round().astype(np.uint8))
    return np.stack(clip)


def shifted(clip):
    """One pixel off to the right."""
    return np.roll(clip, 1, axis=2)


def write_frames(folder, clip):
    for index, frame in enumerate(clip):
        pictures.write_picture(folder / f"{index:04d}.png", frame)
