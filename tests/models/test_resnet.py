"""Convolutional blocks against diffusers."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from golden_modules import load_modules, part
from parity import apply, nchw, nhwc, normal, params_of, perturbed

from aa_jax.models.resnet import Downsample, ResnetBlock, Upsample


def frames_of(x):
    """A batch of pictures [b c h w] as clips of one frame, channels last."""
    return nhwc(x)[:, None]


def pictures_of(y):
    return nchw(np.asarray(y)[:, 0])


@pytest.mark.parametrize("std", [1.0, 0.003])  # the small one shows a wrong epsilon
@pytest.mark.parametrize("features", [8, 16])  # without and with a projected skip
def test_resnet_block_is_diffusers(features, std):
    torch.manual_seed(0)
    theirs = perturbed(
        ResnetBlock2D(in_channels=8, out_channels=features, temb_channels=12, groups=4, eps=1e-5)
    )
    x, embedding = normal(2, 8, 5, 4, std=std), normal(2, 12, seed=1)

    ours = apply(ResnetBlock(features, 4), params_of(theirs), frames_of(x), jnp.asarray(embedding))

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), torch.from_numpy(embedding))
    np.testing.assert_allclose(pictures_of(ours), expected, atol=2e-5)


def test_frames_are_independent():
    torch.manual_seed(0)
    params = params_of(
        perturbed(ResnetBlock2D(in_channels=8, temb_channels=12, groups=4, eps=1e-5))
    )
    clip, embedding = jnp.asarray(normal(2, 3, 5, 4, 8)), jnp.asarray(normal(2, 12, seed=1))

    y = apply(ResnetBlock(8, 4), params, clip, embedding)

    alone = apply(ResnetBlock(8, 4), params, clip[:, 1:2], embedding)
    np.testing.assert_allclose(y[:, 1:2], alone, atol=2e-6)


@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_downsample_is_diffusers(size):
    torch.manual_seed(0)
    theirs = perturbed(Downsample2D(8, use_conv=True, padding=1, name="op"))
    params = params_of(theirs.conv)
    x = normal(2, 8, *size)

    ours = apply(Downsample(), {"conv": params}, frames_of(x))

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(pictures_of(ours), expected, atol=5e-6)


@pytest.mark.parametrize("size", [None, (9, 8), (10, 7), (9, 7)])
def test_upsample_is_diffusers(size):
    torch.manual_seed(0)
    theirs = perturbed(Upsample2D(8, use_conv=True))
    x = normal(2, 8, 5, 4)

    ours = apply(Upsample(), params_of(theirs), frames_of(x), size=size)

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), output_size=size)
    np.testing.assert_allclose(pictures_of(ours), expected, atol=5e-6)


@pytest.mark.parametrize("tag", ["unit", "small"])
def test_resnet_block_is_moores_on_clips(tag):
    probes, params = load_modules("probes"), part("mid_block.resnets.0")

    y = apply(
        ResnetBlock(96, 32), params, nhwc(probes[f"in/x_{tag}"]), jnp.asarray(probes["in/temb"])
    )

    np.testing.assert_allclose(nchw(y), probes[f"out/mid_block.resnets.0/{tag}"], atol=1e-5)
