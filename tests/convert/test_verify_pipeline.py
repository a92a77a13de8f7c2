"""A pipeline case: every run begins from the case's own noise, whatever the run before left.

Pictures, VAE, image encoder and what these make of them are Moore-AnimateAnyone a914ef3's
(`tests/sampling/golden/pipeline/PROVENANCE.md`). UNets and Pose Guider are random ones of our own,
small enough for a test; what they predict, window by window, comes from the network's forward pass
in training, and a loop written here: nothing of `long_video`, which `verify` runs. The whole
original, with its UNets, is 4 MB and no part of the tests.
"""

import bz2
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from aa_jax import weights
from aa_jax.config import (
    NETWORKS,
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    UNetConfig,
)
from aa_jax.diffusion import ddim
from aa_jax.media.pictures import resize
from aa_jax.models import animate_anyone, torch_names
from aa_jax.models.autoencoder import Autoencoder
from aa_jax.models.image_encoder import ImageEncoder, preprocess
from convert.reading.sources import open_source
from convert.verify.diffusion import schedule_of
from convert.verify.layout import channels_first, channels_last
from convert.writing import transfer

GOLDEN = Path(__file__).parents[1] / "sampling" / "golden" / "pipeline"
WIDTH, HEIGHT, FRAMES, GUIDANCE = 96, 128, 6, 2.0
WINDOWS = [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]]  # `uniform`: 4 frames, overlap 2, wraps around
ORIGINAL = ("vae", "image_encoder")
KEPT_STEPS, KEPT_FRAMES = [0, 1], [5, 0]
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
RUNS = {
    "fp32bank": "the bank left in float32",
    "single_window": "first 4 frames, one window, 3 steps, float32 bank",
    "no_guidance": "guidance_scale 1.0, all frames, 3 steps: overlapping windows are summed",
}
MODEL = ModelConfig(
    unet=UNetConfig(
        block_out_channels=(32,),
        layers_per_block=1,
        attention_levels=(True,),
        num_attention_heads=4,
        cross_attention_dim=48,
        norm_num_groups=8,
    ),
    motion_module=MotionModuleConfig(num_attention_heads=4, max_positions=8),
    pose_guider=PoseGuiderConfig(kind="controlnet", block_out_channels=(4, 4, 4, 8)),
    autoencoder=AutoencoderConfig(block_out_channels=(32, 64, 64, 64)),
    image_encoder=ImageEncoderConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        patch_size=32,
        projection_dim=48,
    ),
)


def arrays_of(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def originals(name, tmp_path_factory):
    """Parameters of the original's VAE or image encoder."""
    path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
    path.write_bytes(bz2.decompress((GOLDEN / f"{name}.safetensors.bz2").read_bytes()))
    state = {key: tensor.read().astype(np.float32) for key, tensor in open_source(path).items()}
    return transfer.network(name, MODEL, state)[0]


def denoised(params, schedule, embeds, latents, pictures, initial, *, windows, steps, guidance):
    """Latents [t, h, w, c] after every step, and the first prediction."""
    networks = animate_anyone.Networks.create(MODEL)

    @jax.jit
    def predict(noisy, pose, timestep, conditioned):
        return animate_anyone.predict(
            networks,
            params,
            noisy_latents=noisy[None],
            timesteps=timestep[None],
            image_embeds=embeds[None],
            reference_latents=latents,
            pose_pictures=pose[None],
            condition_mask=conditioned[None],
        )[0]

    now, after, first = initial, [], None
    times, previous = (f(schedule, steps) for f in (ddim.timesteps, ddim.previous_timesteps))
    for time, then in zip(times, previous, strict=True):
        total, visits = np.zeros_like(now), np.zeros((len(now), 1, 1, 1), np.float32)
        for window in windows:
            inputs = now[window], pictures[window].astype(np.float32) / 255, jnp.int32(time)
            prediction = np.asarray(predict(*inputs, jnp.bool_(True)))
            if guidance > 1:
                without = np.asarray(predict(*inputs, jnp.bool_(False)))
                prediction = without + guidance * (prediction - without)
            total[window] += prediction
            visits[window] += 1
        prediction = total / visits if guidance > 1 else total  # the original forgets to divide
        first = prediction if first is None else first
        now = np.asarray(ddim.ddim_step(schedule, prediction, now, time, then)[0])
        after.append(now)
    return after, first


@pytest.fixture(scope="module")
def pipeline_case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "pipeline_own"
    folder.mkdir()
    seeds = iter(range(10_000))

    def draw(*shape):
        return np.random.default_rng(next(seeds)).standard_normal(shape).astype(np.float32)

    def draw_weights(shape):
        """Two values, which pack well and which float16 holds."""
        values = np.array([-0.0625, 0.125], np.float32)
        return np.random.default_rng(next(seeds)).choice(values, shape)

    names = ("reference_unet", "denoising_unet", "motion_module", "pose_guider")
    shapes = weights.abstract_params(MODEL, names)
    params = jax.tree.map(lambda x: draw_weights(x.shape), shapes)
    for name, tree in params.items():
        state = torch_names.to_torch(tree)
        packed = save({key: np.array(x, np.float16, order="C") for key, x in state.items()})
        (folder / f"{name}.safetensors.bz2").write_bytes(bz2.compress(packed))
    for name in ORIGINAL:
        params[name] = originals(name, tmp_path_factory)

    given, golden = arrays_of("inputs"), arrays_of("outputs")
    picture = given["ref_image_u8"]
    poses = np.zeros((FRAMES, *given["pose_images_u8"].shape[1:]), np.uint8)
    poses[:2] = given["pose_images_u8"]
    for frame in range(2, FRAMES):
        poses[frame, 20 * frame : 20 * frame + 9] = 255
    resized = np.stack([resize(pose, WIDTH, HEIGHT) for pose in poses])
    initial = draw(FRAMES, HEIGHT // 8, WIDTH // 8, 4)
    inputs = {
        "ref_image_u8": picture,
        "pose_images_u8": poses,
        "initial_latents": channels_first(initial[None]),
    }
    pixels = preprocess(picture, 224)
    tower, vae = ImageEncoder(MODEL.image_encoder), Autoencoder(MODEL.autoencoder)
    preprocessed = {
        "clip_resized_u8": np.asarray(Image.fromarray(picture).resize((224, 224), Image.BICUBIC)),
        "clip_pixel_values_sub": golden["clip_pixel_values_sub"],
        "vae_input_u8": golden["vae_input_u8"],
        "pose_input_u8": resized,
    }
    schedule = schedule_of(SCHEDULER)
    encode_pose = jax.jit(animate_anyone.encode_pose, static_argnums=0)
    features = encode_pose(
        animate_anyone.Networks.create(MODEL),
        params,
        resized[None, KEPT_FRAMES].astype(np.float32) / 255,
    )
    outputs = {
        "clip_embeds": golden["clip_embeds"],
        "clip_last_hidden_state": jax.jit(tower.hidden_states)(
            params["image_encoder"], pixels[None]
        ),
        **{name: golden[name] for name in ("ref_latents", "vae_mean", "vae_logvar")},
        "pose_features_frames": channels_first(np.asarray(features)),
        "timesteps": ddim.timesteps(schedule, 3),
        "kept_steps": np.array(KEPT_STEPS),
        "kept_frames": np.array(KEPT_FRAMES),
    }

    def denoise(frames, windows, guidance):
        return denoised(
            params,
            schedule,
            golden["clip_embeds"],
            channels_last(golden["ref_latents"]),
            resized,
            initial[:frames],
            windows=windows,
            steps=3,
            guidance=guidance,
        )

    latents, first = denoise(FRAMES, WINDOWS, GUIDANCE)
    kept = [channels_first(latents[step][None]) for step in KEPT_STEPS]
    outputs["fp32bank/latents_kept"] = np.stack(kept)
    outputs["fp32bank/guided_output_step0"] = channels_first(first[None])
    frame = jax.jit(vae.decode)(params["vae"], latents[-1][:1])
    video = np.clip(np.asarray(frame) / 2 + 0.5, 0, 1)
    outputs["fp32bank/video_u8_every6th"] = (video * 255).astype(np.uint8)
    for name, arguments in {
        "single_window": (4, WINDOWS[:1], GUIDANCE),
        "no_guidance": (FRAMES, WINDOWS, 1.0),
    }.items():
        final = denoise(*arguments)[0][-1]
        outputs[f"{name}/final_latents"] = channels_first(final[None])
    files = {"inputs": inputs, "preprocessed": preprocessed, "outputs": outputs}
    for name, arrays in files.items():
        files[name] = {key: np.asarray(x) for key, x in arrays.items()}
        np.savez_compressed(folder / f"{name}.npz", **files[name])
    (folder / "meta.json").write_text(json.dumps(meta_of(files, folder)))
    return folder


def meta_of(files, folder):
    """What `meta.json` says of a case of these files' arrays."""
    arrays = {
        f"{name}.npz": {
            key: {"shape": list(x.shape), "dtype": str(x.dtype)} for key, x in arrays.items()
        }
        for name, arrays in files.items()
    }
    unet, vae, tower = MODEL.unet, MODEL.autoencoder, MODEL.image_encoder
    return {
        "case": "pipeline_own",
        "weights": {
            name: f"{os.path.relpath(GOLDEN, folder) + '/' if name in ORIGINAL else ''}{name}"
            ".safetensors.bz2"
            for name in NETWORKS
        },
        "unet_config": {
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": list(unet.block_out_channels),
            "layers_per_block": unet.layers_per_block,
            "attention_head_dim": unet.num_attention_heads,
            "cross_attention_dim": unet.cross_attention_dim,
            "norm_num_groups": unet.norm_num_groups,
        },
        "unet_additional_kwargs": {
            "use_inflated_groupnorm": True,
            "use_motion_module": True,
            "motion_module_resolutions": [1],
            "motion_module_mid_block": True,
            "motion_module_kwargs": {
                "num_attention_heads": MODEL.motion_module.num_attention_heads,
                "num_transformer_block": 1,
                "attention_block_types": ["Temporal_Self", "Temporal_Self"],
                "temporal_position_encoding_max_len": MODEL.motion_module.max_positions,
            },
        },
        "vae_config": {
            "latent_channels": 4,
            "block_out_channels": list(vae.block_out_channels),
            "layers_per_block": vae.layers_per_block,
            "norm_num_groups": vae.norm_num_groups,
            "scaling_factor": vae.scaling_factor,
        },
        "clip_config": {
            name: getattr(tower, name)
            for name in (
                "hidden_size",
                "intermediate_size",
                "projection_dim",
                "num_hidden_layers",
                "num_attention_heads",
                "image_size",
                "patch_size",
                "hidden_act",
            )
        },
        "scheduler_kwargs": SCHEDULER,
        "pipeline": {
            "width": WIDTH,
            "height": HEIGHT,
            "frames": FRAMES,
            "steps": 3,
            "guidance": GUIDANCE,
            "context_frames": 4,
            "context_overlap": 2,
            "context_stride": 1,
            "context_schedule": "uniform",
            "eta": 0.0,
        },
        "windows": WINDOWS,
        "runs": RUNS,
        "arrays": arrays,
    }


def test_every_run_of_a_pipeline_begins_from_the_cases_own_noise(verify, pipeline_case):
    size = sum(path.stat().st_size for path in pipeline_case.iterdir())
    assert size < 2**20
    code, last, short = verify(pipeline_case)
    assert short == []
    assert (code, last) == (0, "20 arrays compared, 0 fell short")
