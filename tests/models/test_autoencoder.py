"""The VAE agrees with torch's `AutoencoderKL` (diffusers 0.39) and keeps our interface."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from aa_jax.config import AutoencoderConfig
from aa_jax.models import autoencoder
from aa_jax.models.autoencoder import Autoencoder

CONFIGS = {
    "factor4": AutoencoderConfig(
        latent_channels=8, block_out_channels=(32, 64, 64), layers_per_block=1, norm_num_groups=16
    ),
    "factor8": AutoencoderConfig(block_out_channels=(32, 64, 64, 96), layers_per_block=2),
    "factor2": AutoencoderConfig(
        latent_channels=3, block_out_channels=(16, 24), layers_per_block=1, norm_num_groups=8
    ),
}


def torch_twin(config: AutoencoderConfig) -> AutoencoderKL:
    levels = len(config.block_out_channels)
    torch.manual_seed(0)
    twin = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scaling_factor,
    ).eval()
    with torch.no_grad():  # default norms hardly test anything
        for name, parameter in twin.named_parameters():
            if "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return twin


def params_of(twin: AutoencoderKL, like) -> dict:
    """Torch weights as the tree `like`; every weight is used and every leaf is filled."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out_0": "proj_attn"}
    flat = {}
    for name, value in twin.state_dict().items():
        *path, last = name.split(".")
        keys = []
        for part in path:  # `resnets.0` -> `resnets_0`
            if part.isdigit():
                keys[-1] += f"_{part}"
            else:
                keys.append(part)
        keys = [renamed.get(k, k) for k in keys]
        array = value.numpy()
        if last == "weight" and array.ndim == 4:
            last, array = "kernel", array.transpose(2, 3, 1, 0)
        elif last == "weight" and array.ndim == 2:
            last, array = "kernel", array.T
        elif last == "weight":
            last = "scale"
        flat[(*keys, last)] = jnp.asarray(array)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    paths = [tuple(k.key for k in path) for path, _ in leaves]
    assert sorted(paths) == sorted(flat)
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        assert flat[path].shape == leaf.shape, path
    return jax.tree_util.tree_unflatten(treedef, [flat[path] for path in paths])


def nchw(array):
    return torch.from_numpy(np.asarray(array).transpose(0, 3, 1, 2).copy())


def nhwc(tensor):
    return tensor.numpy().transpose(0, 2, 3, 1)


def assert_close_to_scale(actual, desired, tolerance=1e-4):
    """Largest difference relative to the largest value: float32 through some thirty layers."""
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (2, 48, 16)])
def test_agrees_with_torch(name, batch, height, width):
    # given the same random weights
    config = CONFIGS[name]
    vae, twin = Autoencoder(config), torch_twin(config)
    params = params_of(twin, jax.eval_shape(vae.init_params, jax.random.key(0)))
    rng = np.random.default_rng(1)
    pictures = rng.uniform(-1, 1, (batch, height, width, 3)).astype(np.float32)
    factor = config.downscale_factor
    shape = (batch, height // factor, width // factor, config.latent_channels)
    latents = rng.standard_normal(shape).astype(np.float32)

    # when both encode and decode
    mean, logvar = jax.jit(vae.encode_moments)(params, pictures)
    decoded = jax.jit(vae.decode)(params, latents)
    with torch.no_grad():
        posterior = twin.encode(nchw(pictures)).latent_dist
        expected = twin.decode(nchw(latents) / config.scaling_factor).sample

    # then they agree
    assert mean.shape == shape
    assert_close_to_scale(mean, nhwc(posterior.mean))
    assert_close_to_scale(logvar, nhwc(posterior.logvar))
    assert decoded.shape == pictures.shape
    assert_close_to_scale(decoded, nhwc(expected))
    latents = jax.jit(vae.encode)(params, pictures)
    assert_close_to_scale(latents, nhwc(posterior.mean) * config.scaling_factor)


@pytest.fixture(scope="module")
def tiny():
    vae = Autoencoder(CONFIGS["factor2"])
    return vae, vae.init_params(jax.random.key(0))


def test_init_matches_its_abstract_shape(tiny):
    vae, params = tiny
    abstract = jax.eval_shape(vae.init_params, jax.random.key(0))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), abstract
    )
    assert set(params) == {"encoder", "decoder", "quant_conv", "post_quant_conv"}
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(params))


@pytest.mark.parametrize("chunk", [1, 2, 5, 8])
def test_chunked_decoding_changes_nothing(tiny, chunk):
    vae, params = tiny
    latents = jax.random.normal(jax.random.key(1), (5, 4, 6, 3))
    chunked = jax.jit(vae.decode_in_chunks, static_argnums=2)(params, latents, chunk)
    # Convolutions of other batch sizes may sum in another order.
    assert_close_to_scale(chunked, jax.jit(vae.decode)(params, latents), 1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunked_encoding_changes_nothing(tiny, chunk, monkeypatch):
    vae, params = tiny
    pictures = jax.random.uniform(jax.random.key(1), (5, 8, 12, 3), minval=-1, maxval=1)
    monkeypatch.setattr(autoencoder, "PIXELS_AT_ONCE", chunk * 8 * 12)
    moments = jax.jit(vae.encode_moments_in_chunks)(params, pictures)
    for chunked, whole in zip(moments, jax.jit(vae.encode_moments)(params, pictures), strict=True):
        assert_close_to_scale(chunked, whole, 1e-5)


def test_bfloat16_stays_near_float32(tiny):
    vae, params = tiny
    half = Autoencoder(vae.config, jnp.bfloat16)
    pictures = jax.random.uniform(jax.random.key(2), (1, 16, 16, 3), minval=-1, maxval=1)
    latents = jax.jit(half.encode)(params, pictures)
    assert latents.dtype == jnp.float32
    # 8 bits of mantissa through about ten layers
    assert_close_to_scale(latents, jax.jit(vae.encode)(params, pictures), 0.05)
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    assert jax.jit(half.decode)(params, latents).dtype == jnp.float32


def test_sizes_off_the_grid_are_refused(tiny):
    vae, params = tiny
    with pytest.raises(ValueError, match=r"17x16 pixels.*multiples of the VAE factor 2"):
        vae.encode(params, jnp.zeros((1, 16, 17, 3)))


def test_users_read_nothing_of_deprecation():
    # diffusers says it once per process, at import and in constructors: so a process of its own
    code = (
        "import jax\n"
        "from aa_jax.config import AutoencoderConfig\n"
        "from aa_jax.models.autoencoder import Autoencoder\n"
        "config = AutoencoderConfig(block_out_channels=(4, 8), norm_num_groups=2)\n"
        "jax.eval_shape(Autoencoder(config).init_params, jax.random.key(0))\n"
        "import diffusers\n"
        "assert diffusers.UNet2DConditionModel\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "deprecated" not in done.stderr
