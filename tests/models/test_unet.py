"""The two UNets against diffusers, and what guidance, masks, remat and dtypes must not change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import get_timestep_embedding
from parity import apply, nchw, nhwc, normal, perturbed, random_params

from aa_jax.config import MotionModuleConfig, UNetConfig
from aa_jax.kernels import attention as attention_kernels
from aa_jax.models import torch_names
from aa_jax.models.reference_features import project_reference
from aa_jax.models.unet import DenoisingUNet, ReferenceUNet, timestep_features

CONFIG = UNetConfig(
    block_out_channels=(8, 16),
    layers_per_block=1,
    attention_levels=(True, False),
    num_attention_heads=2,
    cross_attention_dim=6,
    norm_num_groups=4,
)
ONE_LEVEL = dataclasses.replace(CONFIG, block_out_channels=(8,), attention_levels=(True,))
MOTION = MotionModuleConfig(num_attention_heads=2, norm_num_groups=4)


@functools.cache
def diffusers_unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=6,
        norm_num_groups=4,
    )
    unet.set_attn_processor(AttnProcessor())
    return perturbed(unet, seed)


def params_for(module, unet: UNet2DConditionModel, *inputs) -> dict:
    """The strictly matched parameters of a linen module, less what a ReferenceNet lacks."""
    state = {k: v.numpy() for k, v in unet.state_dict().items()}
    if isinstance(module, ReferenceUNet):
        state = {k: v for k, v in state.items() if not k.startswith(("conv_norm_out", "conv_out"))}
    template = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return torch_names.from_torch(state, template)


class Bank:
    """Attention processors that write or read the tokens of `attn1`, as Animate Anyone does."""

    def __init__(self):
        self.tokens = {}

    def install(self, unet, mode):
        for name, module in unet.named_modules():
            if name.endswith(".attn1"):
                module.set_processor(functools.partial(getattr(self, mode), name))

    def write(self, name, attn, x, **_):
        self.tokens[name] = x
        return AttnProcessor()(attn, x)

    def read(self, name, attn, x, **_):
        """The second half of the batch, frames of the conditional sample, sees the bank."""
        plain, x = x.chunk(2)
        bank = self.tokens[name].expand(len(x), -1, -1)
        out = AttnProcessor()(attn, x, torch.cat([x, bank], dim=1))
        return torch.cat([AttnProcessor()(attn, plain), out])


@pytest.mark.parametrize(
    ("batch", "tokens", "size"), [(1, 1, (8, 8)), (2, 3, (6, 10)), (2, 1, (7, 5))]
)
def test_denoising_unet_without_motion_is_diffusers(batch, tokens, size):
    unet, module = diffusers_unet(), DenoisingUNet(CONFIG)
    x, embeds = normal(batch, 4, *size), normal(batch, tokens, 6, seed=1)
    timesteps = np.asarray([613, 27][:batch])
    inputs = nhwc(x)[:, None], jnp.asarray(timesteps), jnp.asarray(embeds)

    y = apply(module, params_for(module, unet, *inputs), *inputs)

    with torch.no_grad():
        expected = unet(*map(torch.from_numpy, (x, timesteps, embeds))).sample.numpy()
    np.testing.assert_allclose(nchw(y[:, 0]), expected, atol=3e-5 * expected.std())


def test_reference_and_guidance_are_those_of_peers():
    # Given a ReferenceNet, a denoising UNet, and an unconditional and a conditional clip
    frames, size = 2, (6, 5)
    theirs, their_reference, bank = diffusers_unet(0), diffusers_unet(1), Bank()
    x, picture, embeds = normal(2, frames, 4, *size), normal(1, 4, *size), normal(1, 1, 6)
    both = np.concatenate([0 * embeds, embeds])

    # when theirs run frame by frame with repeated conditions
    bank.install(their_reference, "write")
    bank.install(theirs, "read")
    with torch.no_grad():
        their_reference(torch.from_numpy(picture), 0, torch.from_numpy(embeds))
        flat, repeated = x.reshape(-1, *x.shape[2:]), both.repeat(frames, 0)
        expected = theirs(torch.from_numpy(flat), 613, torch.from_numpy(repeated)).sample
    for unet in (theirs, their_reference):
        unet.set_attn_processor(AttnProcessor())

    # then ours agree in features and prediction
    reference_unet, denoising_unet = ReferenceUNet(CONFIG), DenoisingUNet(CONFIG)
    inputs = nhwc(picture), jnp.asarray(embeds)
    params = params_for(reference_unet, their_reference, *inputs)
    features = apply(reference_unet, params, *inputs)
    assert len(features) == len(bank.tokens) == 4
    for name, tokens in bank.tokens.items():
        path = "/".join(torch_names.to_path(name + ".bias", 1)[:-2])
        np.testing.assert_allclose(features[path], tokens, atol=2e-5)

    clips = jnp.asarray(np.moveaxis(x, 2, -1))
    inputs = clips, jnp.full(2, 613), jnp.asarray(both)
    params = params_for(denoising_unet, theirs, *inputs)
    reference = project_reference(params, features)
    y = jax.jit(
        lambda params, reference: denoising_unet.apply(
            {"params": params}, *inputs, reference=reference
        )
    )(params, reference)
    expected = expected.numpy().reshape(x.shape)
    np.testing.assert_allclose(np.moveaxis(y, -1, 2), expected, atol=3e-5 * expected.std())


def test_time_embedding_is_diffusers():
    timesteps = np.asarray([0, 1, 27, 613, 999])

    ours = timestep_features(jnp.asarray(timesteps), 8)

    expected = get_timestep_embedding(
        torch.from_numpy(timesteps), 8, flip_sin_to_cos=True, downscale_freq_shift=0
    )
    np.testing.assert_allclose(ours, expected, atol=1e-4)  # 999 rad in float32: 6e-5


def test_stable_diffusion_size_and_names():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    wanted = {key: x.numel() for key, x in unet.state_dict().items()}
    latents, embeds = jnp.zeros((1, 1, 8, 8, 4)), jnp.zeros((1, 1, 768))

    init = DenoisingUNet(UNetConfig(), motion=MotionModuleConfig()).init
    shapes = jax.eval_shape(init, jax.random.key(0), latents, jnp.zeros(1), embeds)["params"]

    found = {
        torch_names.to_key(tuple(entry.key for entry in path)): x.size
        for path, x in jax.tree_util.tree_leaves_with_path(shapes)
    }
    motion = {key: size for key, size in found.items() if ".motion_modules." in key}
    assert {key: size for key, size in found.items() if key not in motion} == wanted
    assert sum(wanted.values()) == 859_520_964
    # AnimateDiff v1 has 417 M, v2 a module in the mid block too and 453 M.
    mid_block = sum(size for key, size in motion.items() if key.startswith("mid_block."))
    assert sum(motion.values()) == 453_209_280
    assert sum(motion.values()) - mid_block == 417_137_600


# --- one clip of a batch must not notice what the others are conditioned on ----------------------

UNET = DenoisingUNet(ONE_LEVEL, motion=MOTION)


def clips(samples=slice(None)):
    """Latents, timesteps, embeddings and pose features of two clips of three frames."""
    arrays = normal(2, 3, 4, 4, 4), np.asarray([613, 27]), normal(2, 1, 6), normal(2, 3, 4, 4, 8)
    return tuple(jnp.asarray(x[samples]) for x in arrays)


def keys_and_values(samples=slice(None)):
    blocks = ("down_blocks_0/attentions_0", "mid_block/attentions_0")
    blocks += ("up_blocks_0/attentions_0", "up_blocks_0/attentions_1")
    return {
        f"{block}/transformer_blocks_0": tuple(
            jnp.asarray(normal(2, 16, 8, seed=seed)[samples]) for seed in (3, 4)
        )
        for block in blocks
    }


@functools.cache
def params_of_clips():
    return random_params(UNET, *clips())


@functools.cache
def predict(samples=(0, 2), referenced=None, mask=None, dtype="float32"):
    """The prediction for some of the clips, of which some have a reference, perhaps masked."""
    kwargs = {}
    if referenced is not None:
        kwargs["reference"] = keys_and_values(slice(*referenced))
    if mask is not None:
        kwargs["reference_mask"] = jnp.asarray(mask)
    module = UNET.clone(dtype=dtype)
    y = jax.jit(lambda params, args, kwargs: module.apply({"params": params}, *args, **kwargs))(
        params_of_clips(), clips(slice(*samples)), kwargs
    )
    return np.asarray(y)


def assert_close(y, expected):
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


def test_first_samples_without_reference_are_unconditional():
    guided = predict(referenced=(1, 2))

    assert_close(guided[:1], predict(samples=(0, 1)))
    assert_close(guided[1:], predict(samples=(1, 2), referenced=(1, 2)))
    assert np.abs(guided[1] - predict()[1]).max() > 0.01


def test_masked_samples_have_no_reference():
    masked = predict(referenced=(0, 2), mask=(True, False))

    assert_close(masked[1], predict()[1])
    assert_close(masked[0], predict(referenced=(0, 2))[0])


def test_bfloat16_is_close():
    y = predict(referenced=(0, 2), dtype="bfloat16")

    expected = predict(referenced=(0, 2))
    assert y.dtype == np.float32
    assert np.std(y - expected) < 0.03 * np.std(expected)


def test_incomplete_reference_is_refused():
    with pytest.raises(KeyError, match="attentions_0"):
        jax.eval_shape(lambda: UNET.apply({"params": params_of_clips()}, *clips(), reference={}))


@pytest.mark.parametrize("remat", ["blocks", "full"])
def test_remat_changes_neither_parameters_nor_gradients(remat):
    plain = DenoisingUNet(ONE_LEVEL, motion=MOTION)
    inputs = jnp.asarray(normal(1, 2, 3, 3, 4)), jnp.asarray([613]), jnp.asarray(normal(1, 1, 6))
    params = random_params(plain, *inputs)

    def loss(params, module):
        return jnp.mean(jnp.square(module.apply({"params": params}, *inputs)))

    losses = {
        mode: functools.partial(loss, module=plain.clone(remat=mode)) for mode in ("none", remat)
    }

    # All but conv_in and conv_out are inside of rematerialised modules,
    assert [count_convolutions(f, params) for f in losses.values()] == [12, 2]
    # and the gradients are the same.
    expected, ours = (jax.jit(jax.grad(f))(params) for f in losses.values())
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
    close = functools.partial(np.testing.assert_allclose, atol=1e-5 * scale)
    jax.tree.map(close, ours, expected)


def count_convolutions(f, *args):
    with attention_kernels.using("xla"):  # a CPU's convolutions are functions of their own
        equations = jax.make_jaxpr(f)(*args).jaxpr.eqns
    return sum(equation.primitive.name == "conv_general_dilated" for equation in equations)


def test_reference_is_rounded_through_its_storage_dtype():
    kernel = {"kernel": jnp.asarray(normal(8, 8))}
    params = {"mid_block": {"attn1": {"to_k": kernel, "to_v": kernel}}}
    tokens = jnp.asarray(normal(1, 4, 8, seed=1))

    keys, _ = project_reference(params, {"mid_block": tokens}, storage_dtype=jnp.float16)[
        "mid_block"
    ]

    np.testing.assert_allclose(
        keys, tokens.astype(jnp.float16).astype(jnp.float32) @ kernel["kernel"], atol=1e-6
    )
    assert np.abs(keys - tokens @ kernel["kernel"]).max() > 1e-4
