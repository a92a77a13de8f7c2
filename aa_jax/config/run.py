"""What a run of `train.py` or `evaluate.py` is.

Config files (`configs/*.py`) return `ml_collections.ConfigDict`s of the same shape, which
`from_dict` turns into these classes; unknown or mistyped fields are errors.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal

from aa_jax.config.reading import require
from aa_jax.config.weights import (
    ModelConfig,
    NoiseScheduleConfig,
    SamplingConfig,
    SkeletonConfig,
    check_networks,
    check_size,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where training examples come from.

    Attributes:
      source: `puppets`, or a dataset folder that `prepare.py` wrote.
      buckets: sizes `WIDTHxHEIGHT`; every clip is cropped to the one of nearest aspect ratio, and
        a batch holds clips of one size. Empty: every clip is cropped to width x height.
      frames: target frames per example: 1 in stage 1, a clip in stage 2.
      frame_stride: distance of neighbouring target frames in source frames.
      min_frame_gap: least distance of target and reference frame in stage 1, in source frames.
      fps: the frame rate that stride and gap are counted at; 0: that of each clip.
      latents: `auto`: those that `prepare.py --cache-latents` left in the dataset folder for this
        VAE and size, if any; `none`: always encode while training; or the folder of a cache.
      latents_dtype: of latents and image embeddings encoded while training. `bfloat16`: by a
        program apart from the training step, with the same results as from cached ones.
      clips: distinct clips; puppets only.
    """

    source: str = "puppets"
    height: int = 768
    width: int = 768
    buckets: tuple[str, ...] = ()
    frames: int = 1
    frame_stride: int = 1
    min_frame_gap: int = 4
    fps: float = 0.0
    latents: str = "auto"
    latents_dtype: Literal["float32", "bfloat16"] = "float32"
    clips: int = 100_000
    seed: int = 0
    num_workers: int = 0

    def __post_init__(self) -> None:
        for field in ("frames", "frame_stride", "clips"):
            value = getattr(self, field)
            require(value >= 1, f"data.{field} must be at least 1, got {value}")
        for field in ("min_frame_gap", "fps", "num_workers"):
            value = getattr(self, field)
            require(value >= 0, f"data.{field} must be at least 0, got {value}")
        require(
            not (self.buckets and self.source == "puppets"),
            "data.buckets: puppets are drawn at any size and need none; leave it empty",
        )
        for text in self.buckets:
            require(
                re.fullmatch(r"[1-9]\d*x[1-9]\d*", text) is not None,
                f"data.buckets: a size looks like 768x512 (width x height), got {text!r}",
            )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of every bucket; one if there are no buckets."""
        if not self.buckets:
            return ((self.width, self.height),)
        widths_heights = (text.split("x") for text in self.buckets)
        return tuple((int(width), int(height)) for width, height in widths_heights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
      task: `autoencoder`, or `animate` (both stages of the paper).
      trainable: networks that learn; the others are frozen and have no optimizer state.
      batch_size: examples per optimizer step, over all devices and accumulation steps.
      optimizer: `muon` orthogonalises the updates of kernels and leaves the rest to AdamW; both
        take the same learning rate.
      warmup_steps: steps over which the learning rate rises from 0; more than `steps` are cut to
        it, and the run says so.
      condition_dropout: probability, per example, of training without reference and embedding.
      timesteps: noise levels to draw from: `uniform`, all of the schedule; `sampling`, only those
        that `sampling.steps` DDIM steps visit, for a model of few steps.
      timestep_shift: of `uniform`: s moves the level at the fraction t of the schedule to
        s t / (1 + (s - 1) t), so that above 1 much noise is drawn more often, where the reference
        is needed most; as for higher resolutions in Stable Diffusion 3 (arXiv 2403.03206, eq. 23).
      snr_gamma: min-SNR loss weighting; 0 turns it off.
      temporal_weight: weight of the absolute error of frame-to-frame changes, against flicker.
      consistency_weight: weight of the absolute difference between the clean latents predicted
        from two draws of noise, against what noise leaves in the frames; takes two forward passes.
      ema_decay: decay of the averaged parameters; 0 turns averaging off.
      moments_dtype: dtype of the first moments; the second ones need float32, whose steps bfloat16
        would round away.
      remat: what to recompute in the backward pass instead of storing it.
    """

    task: Literal["autoencoder", "animate"] = "animate"
    trainable: tuple[str, ...] = ("reference_unet", "denoising_unet", "pose_guider")
    steps: int = 30_000
    batch_size: int = 64
    accumulation_steps: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-5
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    weight_decay: float = 1e-2
    adam_b1: float = 0.9
    adam_b2: float = 0.999
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    condition_dropout: float = 0.1
    timesteps: Literal["uniform", "sampling"] = "uniform"
    timestep_shift: float = 1.0
    snr_gamma: float = 0.0
    temporal_weight: float = 0.0
    consistency_weight: float = 0.0
    kl_weight: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = "float32"
    moments_dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "blocks", "full"] = "none"
    log_every: int = 10
    save_every: int = 500
    keep_checkpoints: int = 2
    validate_every: int = 1000
    validation_clips: int = 4

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "accumulation_steps")
        for field in (*counts, "log_every", "save_every", "validate_every", "validation_clips"):
            value = getattr(self, field)
            require(value >= 1, f"train.{field} must be at least 1, got {value}")
        require(
            self.batch_size % self.accumulation_steps == 0,
            f"train.batch_size={self.batch_size} is no multiple of "
            f"train.accumulation_steps={self.accumulation_steps}",
        )
        require(
            self.warmup_steps >= 0,
            f"train.warmup_steps must be at least 0, got {self.warmup_steps}",
        )
        for field in ("condition_dropout", "ema_decay"):
            value = getattr(self, field)
            require(0 <= value < 1, f"train.{field} must be in [0, 1), got {value}")
        check_networks(self.trainable, "train.trainable")
        require(
            self.timestep_shift > 0,
            f"train.timestep_shift must be above 0, got {self.timestep_shift}",
        )
        require(
            self.timesteps == "uniform" or self.timestep_shift == 1,
            f"train.timestep_shift={self.timestep_shift} needs train.timesteps=uniform, got "
            f"{self.timesteps}",
        )

    @property
    def warmup(self) -> int:
        """Steps that the learning rate rises in this run; `warmup_steps`, but no more than all."""
        return min(self.warmup_steps, self.steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run does otherwise than its config says, a line each."""
        if self.warmup == self.warmup_steps:
            return ()
        return (f"train.warmup_steps={self.warmup_steps} is cut to the run's {self.steps} steps",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How a run spreads over devices (`aa_jax.training.partitioning`).

    No part of what a run computes: it may go on with another mesh.

    Attributes:
      data: groups of devices among which every batch is divided; 0: as many as there are devices
        for and the batch divides over.
      fsdp: devices that divide the batch further, and hold a part of every large parameter each.
      context: devices that divide the frames of every clip; where clips have one frame, the batch.
      zero1: divide optimizer moments and averaged parameters among devices that hold the same
        parameters.
    """

    data: int = 0
    fsdp: int = 1
    context: int = 1
    zero1: bool = True

    def __post_init__(self) -> None:
        require(self.data >= 0, f"mesh.data must be at least 0, got {self.data}")
        for field in ("fsdp", "context"):
            value = getattr(self, field)
            require(value >= 1, f"mesh.{field} must be at least 1, got {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Weights to start from.

    Attributes:
      weights: weights directory, or `bundled`; empty: everything starts from random numbers.
      networks: which networks to take from it; empty: all it holds. The others start from random
        numbers.
    """

    weights: str = ""
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_networks(self.networks, "init.networks")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What `evaluate.py` measures.

    Attributes:
      weights: weights directory, or `bundled`.
      protocol: animate the test split of the dataset `data.source` and measure by this protocol
        (`aa_jax.metrics.protocols`); empty: the puppets, beside simpler answers.
      clips: of the test split, so many from the first; 0: all.
      seed: of the noise; of puppets also which characters.
      characters: puppets only.
      frames: of every puppet's clip; of a dataset the protocol says how many.
      batch_size: clips that are animated together.
    """

    weights: str = ""
    protocol: str = ""
    clips: int = 0
    seed: int = 0
    characters: int = 64
    frames: int = 16
    batch_size: int = 8

    def __post_init__(self) -> None:
        require(self.clips >= 0, f"eval.clips must be at least 0, got {self.clips}")
        require(self.batch_size >= 1, f"eval.batch_size must be at least 1, got {self.batch_size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run of `train.py` or `evaluate.py`."""

    name: str
    seed: int = 0
    model: ModelConfig = ModelConfig()
    schedule: NoiseScheduleConfig = NoiseScheduleConfig()
    skeleton: SkeletonConfig = SkeletonConfig()
    sampling: SamplingConfig = SamplingConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    init: InitConfig = InitConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        check_size(self.data.width, self.data.height, self.model, where="data")
        for width, height in self.data.sizes:
            check_size(width, height, self.model, where="data.buckets")


def default_config(name: str) -> ConfigDict:
    """A config file's starting point: every field of `RunConfig` at its default.

    Config files change what they need; `--config.group.field=value` changes the rest.
    """
    from ml_collections import ConfigDict

    return ConfigDict(dataclasses.asdict(RunConfig(name=name))).lock()
