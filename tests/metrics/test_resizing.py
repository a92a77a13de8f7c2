"""Sizes change as in Pillow and PyTorch; their float32 sums differ by 1e-3 of 255 at most."""

import numpy as np
import pytest
import torch
from PIL import Image

from aa_jax.metrics import resizing

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(23, 30), (90, 71)])
def test_filters_are_pillows(filter, size):
    height, width = size
    channels = [
        Image.fromarray(PICTURE[..., c]).resize((width, height), Image.Resampling[filter.upper()])
        for c in range(3)
    ]
    resized = resizing.resize(PICTURE[None], height, width, filter)[0]
    np.testing.assert_allclose(resized, np.stack(channels, -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(23, 30), (90, 71)])
def test_points_are_torchs(size):
    x = torch.tensor(PICTURE).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False)
    resized = resizing.resize(PICTURE[None], *size, "points")
    np.testing.assert_allclose(resized[0], expected[0].permute(1, 2, 0), rtol=0, atol=1e-3)
