"""Pictures, VAE and image encoder agree with Moore-AnimateAnyone a914ef3's pipeline."""

import bz2
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load

from aa_jax.config import AutoencoderConfig, ImageEncoderConfig
from aa_jax.media.pictures import resize
from aa_jax.models import torch_names
from aa_jax.models.autoencoder import Autoencoder
from aa_jax.models.image_encoder import ImageEncoder, preprocess

GOLDEN = Path(__file__).parent / "golden" / "pipeline"
WIDTH, HEIGHT = 96, 128

VAE = AutoencoderConfig(block_out_channels=(32, 64, 64, 64))
IMAGE_ENCODER = ImageEncoderConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    patch_size=32,
    projection_dim=48,
)


@pytest.fixture(scope="module")
def inputs():
    with np.load(GOLDEN / "inputs.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def outputs():
    with np.load(GOLDEN / "outputs.npz") as arrays:
        return dict(arrays)


def read(path):
    return {k: v.astype(np.float32) for k, v in load(bz2.open(path, "rb").read()).items()}


@pytest.fixture(scope="module")
def params():
    return {
        "vae": vae_params(read(GOLDEN / "vae.safetensors.bz2")),
        "image_encoder": clip_params(read(GOLDEN / "image_encoder.safetensors.bz2")),
    }


def vae_params(state):
    """diffusers' Flax VAE names its attention otherwise than its torch VAE."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for torch_name, flax_name in renamed.items():
        state = {k.replace(f".{torch_name}.", f".{flax_name}."): v for k, v in state.items()}
    return torch_names.from_torch(state)


def clip_params(state):
    """The tower's layers are children of one module, not entries of a list."""
    tree = {}
    for key, array in state.items():
        *path, leaf = key.split(".")
        if path[-1] == "position_embedding":
            leaf = "embedding"
        elif leaf == "weight":
            leaf = "scale" if array.ndim == 1 else "kernel"
            array = array.transpose({1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[array.ndim])
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = array
    return tree


def channels_last(array):
    return np.moveaxis(array, 1, -1)


def test_pictures_are_prepared_alike(inputs, outputs):
    picture = inputs["ref_image_u8"]
    np.testing.assert_array_equal(resize(picture, WIDTH, HEIGHT), outputs["vae_input_u8"])
    poses = [resize(pose, WIDTH, HEIGHT) for pose in inputs["pose_images_u8"]]
    np.testing.assert_array_equal(poses, outputs["pose_input_u8"])
    expected = channels_last(outputs["clip_pixel_values_sub"])[0]
    np.testing.assert_allclose(preprocess(picture, 224)[::8, ::8], expected, rtol=0, atol=1e-6)


def test_autoencoder_agrees(params, outputs):
    vae = Autoencoder(VAE)
    pictures = jnp.asarray(outputs["vae_input_u8"][None], jnp.float32) / 127.5 - 1
    mean, logvar = jax.jit(vae.encode_moments)(params["vae"], pictures)
    decoded = jax.jit(vae.decode)(params["vae"], channels_last(outputs["latents"]))
    # float32 against float64 costs the original 4e-5 (moments have a deviation of 1.9)
    np.testing.assert_allclose(mean, channels_last(outputs["vae_mean"]), rtol=0, atol=5e-4)
    np.testing.assert_allclose(logvar, channels_last(outputs["vae_logvar"]), rtol=0, atol=5e-4)
    np.testing.assert_allclose(
        mean * VAE.scaling_factor,
        channels_last(outputs["ref_latents"]),
        rtol=0,
        atol=1e-4,
    )
    np.testing.assert_allclose(decoded, channels_last(outputs["decoded"]), rtol=0, atol=5e-5)


def test_image_embedding_agrees(params, inputs, outputs):
    encoder = ImageEncoder(IMAGE_ENCODER)
    pixels = preprocess(inputs["ref_image_u8"], IMAGE_ENCODER.image_size)
    embeds = jax.jit(encoder.encode)(params["image_encoder"], pixels[None])
    np.testing.assert_allclose(embeds[:, 0], outputs["clip_embeds"], rtol=0, atol=1e-5)
