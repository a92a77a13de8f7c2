"""Everything a run can set, as frozen dataclasses validated once.

`ModelConfig`, `NoiseScheduleConfig`, `SkeletonConfig` and `SamplingConfig` describe a set of
weights and are stored beside them (`aa_jax.weights`); the rest describes one run of a script.
Config files (`configs/*.py`) return `ml_collections.ConfigDict`s of the same shape, which
`from_dict` turns into these classes; unknown or mistyped fields are errors.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from ml_collections import ConfigDict

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting is wrong; the message names the field and says what would be right."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


NETWORKS = (
    "vae",
    "image_encoder",
    "reference_unet",
    "denoising_unet",
    "motion_module",
    "pose_guider",
)
"""The parameter trees of a model, and the names of their files in a weights directory.

`motion_module` holds those parameters of the denoising UNet that lie under `motion_modules_*`.
"""


def _check_networks(names: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(names) - set(NETWORKS))
    _require(
        not unknown, f"{where}: unknown {', '.join(unknown)}; networks are {', '.join(NETWORKS)}"
    )


# --- what a set of weights is -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Spatial architecture shared by the denoising UNet and the ReferenceNet; defaults: SD 1.5.

    Attributes:
      attention_levels: per resolution level, whether its blocks carry spatial transformers
        (diffusers: `CrossAttnDownBlock2D` or `DownBlock2D`); up blocks mirror it.
      num_attention_heads: heads of every spatial transformer. SD 1.5's config file calls this
        number `attention_head_dim`, but uses it as the number of heads.
      group_norm_scope: statistics of the resnets' and the output's GroupNorm per frame or over all
        frames of a clip (weights trained with AnimateDiff v1 options).
    """

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_attention_heads: int = 8
    cross_attention_dim: int = 768
    norm_num_groups: int = 32
    group_norm_scope: Literal["per_frame", "over_frames"] = "per_frame"

    def __post_init__(self) -> None:
        _require(
            len(self.attention_levels) == len(self.block_out_channels),
            "model.unet: attention_levels and block_out_channels must have the same length, got "
            f"{len(self.attention_levels)} and {len(self.block_out_channels)}",
        )
        for width, attention in zip(self.block_out_channels, self.attention_levels, strict=True):
            _require(
                width % self.norm_num_groups == 0,
                f"model.unet: width {width} is no multiple of "
                f"norm_num_groups={self.norm_num_groups}",
            )
            _require(
                not attention or width % self.num_attention_heads == 0,
                f"model.unet: width {width} is no multiple of "
                f"num_attention_heads={self.num_attention_heads}",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionModuleConfig:
    """Temporal layers (AnimateDiff's motion modules) of the denoising UNet.

    Attributes:
      enabled: False for stage 1, whose denoising UNet sees single frames.
      max_positions: rows of the sinusoidal position table, the longest clip in one window
        (AnimateDiff v1: 24; v2, v3 and Moore-AnimateAnyone: 32).
      mid_block: a motion module in the mid block too (AnimateDiff v2, Moore-AnimateAnyone).
    """

    enabled: bool = True
    num_attention_heads: int = 8
    num_transformer_blocks: int = 1
    num_attention_layers: int = 2
    max_positions: int = 32
    mid_block: bool = True
    norm_num_groups: int = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseGuiderConfig:
    """The light network that turns skeleton pictures into features added after `conv_in`.

    Attributes:
      kind: `paper`: 4x4 convolutions; `controlnet`: the hint encoder Moore-AnimateAnyone uses.
    """

    kind: Literal["paper", "controlnet"] = "paper"
    block_out_channels: tuple[int, ...] = (16, 32, 64, 128)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """VAE between pictures and latents; defaults: SD 1.5's `AutoencoderKL`."""

    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215

    @property
    def downscale_factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageEncoderConfig:
    """CLIP vision tower with projection; defaults: ViT-L/14."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    projection_dim: int = 768
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All networks of one Animate Anyone model; defaults: SD 1.5 size."""

    unet: UNetConfig = UNetConfig()
    motion_module: MotionModuleConfig = MotionModuleConfig()
    pose_guider: PoseGuiderConfig = PoseGuiderConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_encoder: ImageEncoderConfig = ImageEncoderConfig()

    def __post_init__(self) -> None:
        _require(
            self.unet.in_channels == self.autoencoder.latent_channels,
            f"model.unet.in_channels={self.unet.in_channels} must equal "
            f"model.autoencoder.latent_channels={self.autoencoder.latent_channels}",
        )
        _require(
            self.unet.cross_attention_dim == self.image_encoder.projection_dim,
            f"model.unet.cross_attention_dim={self.unet.cross_attention_dim} must equal "
            f"model.image_encoder.projection_dim={self.image_encoder.projection_dim}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseScheduleConfig:
    """The one noise schedule of training and sampling; defaults: SD 1.5, epsilon prediction."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: int = 1
    set_alpha_to_one: bool = False

    def __post_init__(self) -> None:
        _require(
            not (self.rescale_betas_zero_snr and self.prediction_type == "epsilon"),
            "schedule: epsilon prediction carries no signal at zero terminal SNR; use "
            "prediction_type='v_prediction' or 'sample', or rescale_betas_zero_snr=False",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkeletonConfig:
    """How keypoints become skeleton pictures; stroke widths are fixed pixels at `size`.

    Attributes:
      size: shorter side, in pixels, of the canvas drawn on before resizing to the video's size.
      threshold: joints of lower confidence are left out.
      confidence_colors: colours are multiplied by the joints' confidences.
    """

    size: int = 512
    hands: bool = True
    face: bool = False
    threshold: float = 0.3
    confidence_colors: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Defaults of `sample.py` for a set of weights.

    Attributes:
      frames: how many poses to use, from the first.
      sampler: `ddim`; or `dpm_solver` or `unipc`, which need fewer steps and take no `eta`.
      window_method: how longer videos are put together (`aa_jax.sampling.windows`).
      window_frames: longest clip denoised in one piece; the clip length the weights were trained
        with is best, and no more than `motion_module.max_positions` are ever used.
      window_overlap: frames that neighbouring windows share (`edge`: always half a window).
      window_stride: `uniform` only: windows of 1, 2, 4, ... frames' distance, so many kinds.
      reference_dtype: dtype the ReferenceNet's features are rounded through; empty: not at all.
        Moore-AnimateAnyone keeps them as float16.
    """

    width: int = 512
    height: int = 512
    frames: int = 24
    steps: int = 20
    sampler: Literal["ddim", "dpm_solver", "unipc"] = "ddim"
    guidance_scale: float = 3.5
    eta: float = 0.0
    window_method: Literal["blend", "edge", "uniform"] = "blend"
    window_frames: int = 24
    window_overlap: int = 4
    window_stride: int = 1
    reference_dtype: Literal["", "float16", "bfloat16"] = ""

    def __post_init__(self) -> None:
        _require(
            0 <= self.window_overlap < self.window_frames,
            f"sampling.window_overlap must be from 0 to {self.window_frames - 1} "
            f"(window_frames={self.window_frames}), got {self.window_overlap}",
        )
        _require(
            self.window_stride >= 1,
            f"sampling.window_stride must be at least 1, got {self.window_stride}",
        )
        _require(
            self.eta == 0 or self.sampler == "ddim",
            f"sampling.eta must be 0 with sampling.sampler={self.sampler!r}, got {self.eta}",
        )
        _require(self.steps >= 1, f"sampling.steps must be at least 1, got {self.steps}")
        _require(self.frames >= 1, f"sampling.frames must be at least 1, got {self.frames}")
        _require(
            self.guidance_scale >= 0 and math.isfinite(self.guidance_scale),
            f"sampling.guidance_scale must be a number from 0 up, got {self.guidance_scale}",
        )


# --- what a run is ------------------------------------------------------------------------------


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
            _require(value >= 1, f"data.{field} must be at least 1, got {value}")
        for field in ("min_frame_gap", "fps", "num_workers"):
            value = getattr(self, field)
            _require(value >= 0, f"data.{field} must be at least 0, got {value}")
        _require(
            not (self.buckets and self.source == "puppets"),
            "data.buckets: puppets are drawn at any size and need none; leave it empty",
        )
        for text in self.buckets:
            _require(
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
      condition_dropout: probability, per example, of training without reference and embedding.
      timesteps: noise levels to draw from: `uniform`, all of the schedule; `sampling`, only those
        that `sampling.steps` DDIM steps visit, for a model of few steps.
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
            _require(value >= 1, f"train.{field} must be at least 1, got {value}")
        _require(
            self.batch_size % self.accumulation_steps == 0,
            f"train.batch_size={self.batch_size} is no multiple of "
            f"train.accumulation_steps={self.accumulation_steps}",
        )
        _require(
            self.warmup_steps < self.steps,
            f"train.warmup_steps={self.warmup_steps} must be less than train.steps={self.steps}",
        )
        for field in ("condition_dropout", "ema_decay"):
            value = getattr(self, field)
            _require(0 <= value < 1, f"train.{field} must be in [0, 1), got {value}")
        _check_networks(self.trainable, "train.trainable")


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
        _require(self.data >= 0, f"mesh.data must be at least 0, got {self.data}")
        for field in ("fsdp", "context"):
            value = getattr(self, field)
            _require(value >= 1, f"mesh.{field} must be at least 1, got {value}")


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
        _check_networks(self.networks, "init.networks")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What `evaluate.py` measures."""

    weights: str = ""
    seed: int = 0
    characters: int = 64
    frames: int = 16
    batch_size: int = 8


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


def check_size(width: int, height: int, model: ModelConfig, *, where: str) -> None:
    """Raises `ConfigError` unless width and height (pixels) are multiples of the VAE factor."""
    factor = model.autoencoder.downscale_factor
    for name, value in (("width", width), ("height", height)):
        if value < factor or value % factor:
            nearest = max(factor, round(value / factor) * factor)
            raise ConfigError(
                f"{where}: {name} {value} is no multiple of the VAE factor {factor}; "
                f"{nearest} would be"
            )


# --- to and from plain dictionaries -------------------------------------------------------------


def default_config(name: str) -> ConfigDict:
    """A config file's starting point: every field of `RunConfig` at its default.

    Config files change what they need; `--config.group.field=value` changes the rest.
    """
    from ml_collections import ConfigDict

    return ConfigDict(dataclasses.asdict(RunConfig(name=name))).lock()


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds a config dataclass from nested mappings.

    Args:
      cls: the dataclass.
      values: one entry per field to set; the others keep their defaults.
      where: dotted path of this mapping, for messages.

    Raises:
      ConfigError: a field is unknown, missing, of a wrong type, or has a refused value.
    """
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            raise _unknown(cls, where, name)
    for field in dataclasses.fields(cls):
        optional = {field.default, field.default_factory} != {dataclasses.MISSING}
        if field.name not in values and not optional:
            raise ConfigError(f"field {_join(where, field.name)} is missing")
    return cls(**{n: _coerce(hints[n], v, _join(where, n)) for n, v in values.items()})


def check_path(cls: type, path: str) -> None:
    """Raises ConfigError unless `path`, dotted, names a field of the config dataclass `cls`."""
    where = ""
    for name in path.split("."):
        if not dataclasses.is_dataclass(cls):
            raise ConfigError(f"unknown field {_join(where, name)}; {where} is a single value")
        hints = typing.get_type_hints(cls)
        if name not in hints:
            raise _unknown(cls, where, name)
        cls, where = hints[name], _join(where, name)


def _unknown(cls: type, where: str, name: str) -> ConfigError:
    names = ", ".join(field.name for field in dataclasses.fields(cls))
    return ConfigError(f"unknown field {_join(where, name)}; {where or 'the config'} has {names}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _coerce(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not hasattr(value, "keys"):
            raise ConfigError(f"{where} must be a group of fields, got {value!r}")
        return from_dict(hint, dict(value), where)
    if origin is Literal:
        if value not in typing.get_args(hint):
            choices = ", ".join(map(repr, typing.get_args(hint)))
            raise ConfigError(f"{where} must be one of {choices}, got {value!r}")
        return value
    if origin in (types.UnionType, typing.Union):
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_coerce(typing.get_args(hint)[0], v, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} must be {hint.__name__}, got {value!r}")
    return value
