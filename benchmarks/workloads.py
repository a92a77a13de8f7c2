"""What the benchmarks against PyTorch compute: architectures, sizes, and the same inputs for both.

Everything is drawn from seed 0: speed does not depend on what weights and pictures are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    PoseGuiderConfig,
    RunConfig,
    UNetConfig,
    default_config,
    from_dict,
)

if TYPE_CHECKING:
    from aa_jax.training.partitioning import Partitioning

# A single step then starts from pure noise, where the networks decide everything.
SCHEDULE = NoiseScheduleConfig(timestep_spacing="trailing")
GUIDANCE_SCALE = 3.5
Stage = Literal["stage1", "stage2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """One size of everything.

    Attributes:
      sizes: sides of square pictures, in pixels.
      frames: of the clip in single sampling steps, decoding and stage 2.
      video: (frames, steps) of the whole sampling.
      batch_sizes: examples per training step in stage 1, whose clips have one frame, and stage 2.
      dtype: of the computation.
      remat: what training recomputes.
    """

    model: ModelConfig
    sizes: tuple[int, ...]
    frames: int
    video: tuple[int, int]
    batch_sizes: tuple[int, int]
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "blocks"] = "none"


# Moore-AnimateAnyone's Pose Guider; the other networks are Stable Diffusion 1.5's by default.
_GUIDER = PoseGuiderConfig(kind="controlnet", block_out_channels=(16, 32, 96, 256))

WORKLOADS = {
    "tiny": Workload(
        model=ModelConfig(
            unet=UNetConfig(
                block_out_channels=(16, 32),
                layers_per_block=1,
                attention_levels=(True, False),
                num_attention_heads=2,
                cross_attention_dim=16,
                norm_num_groups=8,
            ),
            motion_module=MotionModuleConfig(num_attention_heads=2, norm_num_groups=8),
            pose_guider=PoseGuiderConfig(kind="controlnet", block_out_channels=(8, 16)),
            autoencoder=AutoencoderConfig(
                block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4
            ),
            image_encoder=ImageEncoderConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=16,
                patch_size=8,
                projection_dim=16,
            ),
        ),
        sizes=(16,),
        frames=3,
        video=(2, 2),
        batch_sizes=(2, 1),
    ),
    # Half of every width of Stable Diffusion 1.5 and its companions.
    "cpu": Workload(
        model=ModelConfig(
            unet=UNetConfig(block_out_channels=(160, 320, 640, 640)),
            pose_guider=_GUIDER,
            autoencoder=AutoencoderConfig(block_out_channels=(64, 128, 256, 256)),
            image_encoder=ImageEncoderConfig(
                hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8
            ),
        ),
        sizes=(256,),
        frames=8,
        video=(4, 20),
        batch_sizes=(2, 1),
    ),
    "gpu": Workload(
        model=ModelConfig(pose_guider=_GUIDER),
        sizes=(512, 768),
        frames=24,
        video=(24, 20),
        batch_sizes=(16, 1),
        dtype="bfloat16",
        remat="blocks",
    ),
}


# --- parameters ---------------------------------------------------------------------------------


def params(model: ModelConfig, networks: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Random float32 parameters by network name, none of them zero: kernels keep variances.

    Cut out of one long draw at random places: billions of draws would take minutes.
    """
    import jax

    from aa_jax import weights

    rng = np.random.default_rng(0)
    normal = rng.standard_normal(2**24, np.float32)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        x = np.resize(normal[rng.integers(2**23) :], leaf.shape)
        if path[-1].key == "kernel":
            return x / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return np.float32(0.1) * x + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, weights.abstract_params(model, networks))


# --- sampling -----------------------------------------------------------------------------------


def pictures(workload: Workload, size: int, frames: int) -> dict[str, np.ndarray]:
    """What an animation starts from: arguments of `Pipeline.encode`, for one clip."""
    rng = np.random.default_rng(1)
    side = workload.model.image_encoder.image_size
    return {
        "references": rng.integers(0, 256, (1, size, size, 3), np.uint8),
        "clip_pixels": rng.standard_normal((1, side, side, 3), np.float32),
        "skeletons": rng.integers(0, 256, (1, frames, size, size, 3), np.uint8),
    }


def latents(workload: Workload, size: int, frames: int) -> np.ndarray:
    """Noise [1, t, h, w, c] of a clip."""
    side = size // workload.model.autoencoder.downscale_factor
    shape = (1, frames, side, side, workload.model.unet.in_channels)
    return np.random.default_rng(2).standard_normal(shape, np.float32)


# --- training -----------------------------------------------------------------------------------


def run_config(workload: Workload, stage: Stage, size: int) -> RunConfig:
    """The run of a stage: `configs/{stage}.py`'s networks and optimizer at this workload's sizes.

    Every example keeps its condition, since PyTorch's side knows no others.
    """
    first = stage == "stage1"
    config = default_config(stage)
    learn = ("reference_unet", "denoising_unet", "pose_guider") if first else ("motion_module",)
    config.data.update(width=size, height=size, frames=1 if first else workload.frames)
    config.train.update(
        trainable=learn,
        batch_size=workload.batch_sizes[0 if first else 1],
        learning_rate=1e-5,
        condition_dropout=0.0,
        dtype=workload.dtype,
        remat=workload.remat,
    )
    config.mesh.data = 1
    motion = dataclasses.replace(workload.model.motion_module, enabled=not first)
    return dataclasses.replace(
        from_dict(RunConfig, config.to_dict()),
        model=dataclasses.replace(workload.model, motion_module=motion),
        schedule=SCHEDULE,
    )


def networks_of(config: RunConfig) -> tuple[str, ...]:
    """The networks of a training step whose latents and embeddings were encoded beforehand."""
    from aa_jax.training import networks

    encoders = ("vae", "image_encoder")
    return tuple(name for name in networks.networks_of(config) if name not in encoders)


def batch(config: RunConfig) -> dict[str, np.ndarray]:
    """A training batch with cached latents and embeddings, as `aa_jax.data.loader` makes them."""
    rng = np.random.default_rng(3)
    b, t, size = config.train.batch_size, config.data.frames, config.data.height
    side = size // config.model.autoencoder.downscale_factor
    moments = 2 * config.model.unet.in_channels
    return {
        "example_id": np.arange(b, dtype=np.uint32),
        "target_moments": rng.standard_normal((b, t, side, side, moments), np.float32),
        "reference_moments": rng.standard_normal((b, side, side, moments), np.float32),
        "image_embeds": rng.standard_normal(
            (b, 1, config.model.image_encoder.projection_dim), np.float32
        ),
        "skeleton": rng.integers(0, 256, (b, t, size, size, 3), np.uint8),
    }


def placed(config: RunConfig, rules: Partitioning) -> tuple[Any, Any, dict[str, Any]]:
    """State, networks that do not learn, and batch of a run's first step, on its devices."""
    from aa_jax.training import program

    trainable, frozen = program.split(config, params(config.model, networks_of(config)))
    state = program.initial_state(config, rules, trainable)
    del trainable  # the state holds its own
    return (
        state,
        rules.place_params(frozen),
        rules.place_batch(batch(config), config.train.batch_size),
    )


class Training:
    """A run at its first step: what `placed` returns, and programs that go on from there."""

    def __init__(self, config: RunConfig, rules: Partitioning) -> None:
        self._config, self._rules = config, rules
        self.state, self.frozen, self.batch = placed(config, rules)

    def compiled(self) -> Callable[[], None]:
        """One training step after the other, on the same batch; all programs share one state."""
        import jax

        from aa_jax.training import program

        train_step = program.TrainProgram(self._config, self._rules)
        train_step.compile(self.state, self.frozen, self.batch)

        def step() -> None:
            self.state, metrics = train_step(self.state, self.frozen, self.batch)
            jax.block_until_ready((self.state, metrics))

        return step


def draws(config: RunConfig, example_ids: np.ndarray) -> dict[str, np.ndarray]:
    """The random numbers of our first training step: `timesteps` [b], `noise` and `latents`."""
    import jax
    import jax.numpy as jnp

    from aa_jax.training.step import example_keys

    side = config.data.height // config.model.autoencoder.downscale_factor
    shape = (config.data.frames, side, side, config.model.unet.in_channels)
    keys = example_keys(config.seed, "train", jnp.int32(0), jnp.asarray(example_ids))
    split = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)
    count = config.schedule.num_train_timesteps
    times = [int(jax.random.randint(key, (), 0, count)) for key in split[0]]
    noise, encoding = (
        np.stack([np.asarray(jax.random.normal(key, shape)) for key in split[i]]) for i in (1, 3)
    )
    return {"timesteps": np.array(times), "noise": noise, "latents": encoding}
