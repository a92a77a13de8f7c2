"""The image encoder agrees with torch's `CLIPVisionModelWithProjection` (transformers 4.57)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from aa_jax.config import ImageEncoderConfig
from aa_jax.models.image_encoder import ImageEncoder, preprocess

CONFIGS = {
    "quick_gelu": ImageEncoderConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=28,
        patch_size=7,
        projection_dim=40,
    ),
    "gelu": ImageEncoderConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=24,
        hidden_act="gelu",
    ),
}


def torch_twin(config):
    torch.manual_seed(0)
    twin = CLIPVisionModelWithProjection(CLIPVisionConfig(**config.__dict__)).eval()
    with torch.no_grad():  # default norms and biases hardly test anything
        for name, parameter in twin.named_parameters():
            if "norm" in name or "layrnorm" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return twin


def params_of(twin, like):
    """Torch weights as the tree `like`; every weight is used and every leaf is filled."""
    flat = {}
    for name, value in twin.state_dict().items():
        if name.endswith("position_ids"):
            continue
        *path, last = name.split(".")
        array = value.numpy()
        if last == "weight" and path[-1] == "position_embedding":
            last = "embedding"
        elif last == "weight" and array.ndim == 4:
            last, array = "kernel", array.transpose(2, 3, 1, 0)
        elif last == "weight" and array.ndim == 2:
            last, array = "kernel", array.T
        elif last == "weight":
            last = "scale"
        flat[(*path, last)] = jnp.asarray(array)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    paths = [tuple(k.key for k in path) for path, _ in leaves]
    assert sorted(paths) == sorted(flat)
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        assert flat[path].shape == leaf.shape, path
    return jax.tree_util.tree_unflatten(treedef, [flat[path] for path in paths])


@pytest.mark.parametrize("name", CONFIGS)
def test_agrees_with_torch(name):
    config = CONFIGS[name]
    encoder, twin = ImageEncoder(config), torch_twin(config)
    params = params_of(twin, jax.eval_shape(encoder.init_params, jax.random.key(0)))
    shape = (2, config.image_size, config.image_size, 3)
    pixels = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    embeds = jax.jit(encoder.encode)(params, pixels)
    with torch.no_grad():
        expected = twin(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).image_embeds.numpy()

    assert embeds.shape == (2, 1, config.projection_dim)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(embeds[:, 0], expected, rtol=0, atol=1e-5 * scale)


def test_init_matches_its_abstract_shape():
    encoder = ImageEncoder(CONFIGS["quick_gelu"])
    params = encoder.init_params(jax.random.key(0))
    abstract = jax.eval_shape(encoder.init_params, jax.random.key(0))
    described = jax.tree.map(lambda a: (a.shape, a.dtype), params)
    assert described == jax.tree.map(lambda a: (a.shape, a.dtype), abstract)
    assert set(params) == {"vision_model", "visual_projection"}


def test_a_fresh_encoder_sees_and_learns():
    # given a fresh tiny encoder and eight pictures of plain colours
    config = CONFIGS["gelu"]
    encoder = ImageEncoder(config)
    params = encoder.init_params(jax.random.key(0))
    colours = jax.random.normal(jax.random.key(1), (8, 1, 1, 3))
    pixels = jnp.broadcast_to(colours, (8, config.image_size, config.image_size, 3))

    # then embeddings differ by picture as much as they are large
    embeds = jax.jit(encoder.encode)(params, pixels)[:, 0]
    assert embeds.std(axis=0).mean() > 0.3 * jnp.abs(embeds).mean()

    # when it is asked to tell the colours, then it learns to
    def loss(params):
        return jnp.mean((encoder.encode(params, pixels)[:, 0, :3] - colours[:, 0, 0]) ** 2)

    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(params, state):
        value, gradients = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    state, first = optimizer.init(params), None
    for _ in range(60):
        params, state, last = step(params, state)
        first = last if first is None else first
    assert last < 0.05 * first


def test_bfloat16_stays_near_float32():
    config = CONFIGS["quick_gelu"]
    params = ImageEncoder(config).init_params(jax.random.key(0))
    pixels = jax.random.normal(jax.random.key(1), (1, 28, 28, 3))
    half = jax.jit(ImageEncoder(config, jnp.bfloat16).encode)(params, pixels)
    full = jax.jit(ImageEncoder(config).encode)(params, pixels)
    assert half.dtype == jnp.float32
    # 8 bits of mantissa through three layers
    np.testing.assert_allclose(half, full, rtol=0, atol=0.05 * jnp.abs(full).max())


def test_preprocessing_agrees_with_clip_image_processor():
    picture = np.random.default_rng(0).integers(0, 256, (50, 31, 3), np.uint8)
    processor = CLIPImageProcessor(size={"height": 28, "width": 28}, do_center_crop=False)
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    pixels = preprocess(picture, 28)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected.transpose(1, 2, 0), rtol=0, atol=1e-6)
