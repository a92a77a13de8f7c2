"""Pose Guiders: the ControlNet form against Moore-AnimateAnyone a914ef3, and the paper's form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_modules import load
from parity import apply, nchw, nhwc, normal, random_params

from aa_jax.config import PoseGuiderConfig
from aa_jax.models import torch_names
from aa_jax.models.pose_guider import PoseGuider


@pytest.mark.parametrize("picture", ["pose_u8_0", "pose_u8_1"])
@pytest.mark.parametrize("widths", [(16, 32, 64, 128), (16, 32, 96, 256)])
def test_controlnet_form_is_moores(widths, picture):
    name = "_".join(map(str, widths))
    state = {k: v.astype(np.float32) for k, v in load("pose_guider", f"weights_{name}").items()}
    pictures = nhwc(load("pose_guider", "inputs")[picture].astype(np.float32) / 255)
    module = PoseGuider(PoseGuiderConfig(kind="controlnet", block_out_channels=widths), 32)

    y = apply(module, torch_names.from_torch(state), pictures)

    expected = load("pose_guider", "outputs")[f"{name}/{picture}"]
    np.testing.assert_allclose(nchw(y), expected, atol=5e-5)


def test_controlnet_form_has_moores_parameters():
    widths = (16, 32, 96, 256)
    module = PoseGuider(PoseGuiderConfig(kind="controlnet", block_out_channels=widths), 32)
    pictures = jax.ShapeDtypeStruct((1, 1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), pictures)["params"]

    moores = torch_names.from_torch(load("pose_guider", "weights_16_32_96_256"))
    assert jax.tree.map(np.shape, moores) == jax.tree.map(np.shape, shapes)


@pytest.mark.parametrize("kind", ["paper", "controlnet"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_features_have_the_size_of_the_latents(kind, factor):
    module = PoseGuider(PoseGuiderConfig(kind=kind), 24, downscale_factor=factor)
    pictures = jax.ShapeDtypeStruct((2, 3, 5 * factor, 7 * factor, 3), jnp.float32)

    y, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), pictures)

    assert y.shape == (2, 3, 5, 7, 24)


def test_papers_form_has_four_4x4_convolutions():
    module = PoseGuider(PoseGuiderConfig(kind="paper"), 320)
    pictures = jax.ShapeDtypeStruct((1, 1, 16, 16, 3), jnp.float32)

    params = jax.eval_shape(module.init, jax.random.key(0), pictures)["params"]

    kernels = [params[f"blocks_{i}"]["kernel"].shape for i in range(4)]
    assert kernels == [(4, 4, 3, 16), (4, 4, 16, 32), (4, 4, 32, 64), (4, 4, 64, 128)]
    assert params["conv_out"]["kernel"].shape == (1, 1, 128, 320)


@pytest.mark.parametrize("kind", ["paper", "controlnet"])
def test_fresh_guider_adds_nothing(kind):
    config = PoseGuiderConfig(kind=kind, block_out_channels=(4, 8))
    pictures = jnp.asarray(normal(1, 1, 8, 8, 3))

    module = PoseGuider(config, 6, downscale_factor=2)
    y, _ = jax.jit(module.init_with_output)(jax.random.key(0), pictures)

    assert not np.any(y)


def test_frames_are_independent():
    module = PoseGuider(PoseGuiderConfig(block_out_channels=(4, 8)), 6, downscale_factor=2)
    pictures = jnp.asarray(normal(1, 3, 8, 8, 3))
    params = random_params(module, pictures)

    y = apply(module, params, pictures)

    alone = apply(module, params, pictures[:, 1:2])
    np.testing.assert_allclose(y[:, 1:2], alone, atol=1e-6)


def test_too_few_widths_for_the_vae_are_refused():
    module = PoseGuider(PoseGuiderConfig(block_out_channels=(4, 8)), 6, downscale_factor=8)

    with pytest.raises(ValueError, match="2 widths reach 1/4 of the picture, but the VAE factor"):
        module.init(jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))
