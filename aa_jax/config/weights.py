"""What a set of weights is: architecture, noise schedule, skeleton style, sampling defaults.

Stored beside the weights (`aa_jax.weights`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from aa_jax.config.reading import ConfigError, require
from aa_jax.config.reference import (
    VARIANT_NETWORKS,
    IPAdapterConfig,
    PromptConfig,
    ReferenceConfig,
)

NETWORKS = (
    "vae",
    "image_encoder",
    "reference_unet",
    "denoising_unet",
    "motion_module",
    "pose_guider",
)
"""The parameter trees of the paper's model, and the names of their files in a weights directory.

`motion_module` holds those parameters of the denoising UNet that lie under `motion_modules_*`.
"""

ALL_NETWORKS = NETWORKS + VARIANT_NETWORKS
"""The trees of any model; `ModelConfig.networks` are those of one."""


def check_networks(names: tuple[str, ...], where: str) -> None:
    """Raises `ConfigError` for names of no network; `where` is the field that holds them."""
    unknown = sorted(set(names) - set(ALL_NETWORKS))
    require(
        not unknown,
        f"{where}: unknown {', '.join(unknown)}; networks are {', '.join(ALL_NETWORKS)}",
    )


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
        require(
            len(self.attention_levels) == len(self.block_out_channels),
            "model.unet: attention_levels and block_out_channels must have the same length, got "
            f"{len(self.attention_levels)} and {len(self.block_out_channels)}",
        )
        for width, attention in zip(self.block_out_channels, self.attention_levels, strict=True):
            require(
                width % self.norm_num_groups == 0,
                f"model.unet: width {width} is no multiple of "
                f"norm_num_groups={self.norm_num_groups}",
            )
            require(
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
    """What tells the denoising UNet of the skeleton pictures; defaults: the paper's Pose Guider.

    Attributes:
      kind: `paper`: 4x4 convolutions, added after `conv_in`; `controlnet`: the hint encoder of a
        ControlNet in their place, as Moore-AnimateAnyone has it; `whole_controlnet`: a ControlNet
        behind that encoder (network `pose_controlnet`), added to the skips.
      block_out_channels: widths of the convolutions.
    """

    kind: Literal["paper", "controlnet", "whole_controlnet"] = "paper"
    block_out_channels: tuple[int, ...] = (16, 32, 64, 128)

    @property
    def network(self) -> str:
        """The parameter tree it needs."""
        return "pose_controlnet" if self.kind == "whole_controlnet" else "pose_guider"


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
    reference: ReferenceConfig = ReferenceConfig()
    ip_adapter: IPAdapterConfig = IPAdapterConfig()
    prompt: PromptConfig = PromptConfig()

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the model's parameter trees."""
        motion = ("motion_module",) if self.motion_module.enabled else ()
        pose = self.pose_guider.network
        has = {"vae", "denoising_unet", pose, *motion, *self.reference.networks}
        return tuple(name for name in ALL_NETWORKS if name in has)

    @property
    def reads_patches(self) -> bool:
        """Whether the image encoder gives its penultimate hidden states, not its embedding."""
        return self.reference.kind == "ip_adapter" and self.ip_adapter.projection == "resampler"

    def __post_init__(self) -> None:
        require(
            self.unet.in_channels == self.autoencoder.latent_channels,
            f"model.unet.in_channels={self.unet.in_channels} must equal "
            f"model.autoencoder.latent_channels={self.autoencoder.latent_channels}",
        )
        require(
            self.unet.cross_attention_dim == self.image_encoder.projection_dim
            or self.reference.kind == "ip_adapter",  # which projects
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
        require(
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
      frames: most frames of a clip that validation samples; `sample.py` uses all poses.
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
        require(
            0 <= self.window_overlap < self.window_frames,
            f"sampling.window_overlap must be from 0 to {self.window_frames - 1} "
            f"(window_frames={self.window_frames}), got {self.window_overlap}",
        )
        require(
            self.window_stride >= 1,
            f"sampling.window_stride must be at least 1, got {self.window_stride}",
        )
        require(
            self.eta == 0 or self.sampler == "ddim",
            f"sampling.eta must be 0 with sampling.sampler={self.sampler!r}, got {self.eta}",
        )
        require(self.steps >= 1, f"sampling.steps must be at least 1, got {self.steps}")
        require(self.frames >= 1, f"sampling.frames must be at least 1, got {self.frames}")
        require(
            self.guidance_scale >= 0 and math.isfinite(self.guidance_scale),
            f"sampling.guidance_scale must be a number from 0 up, got {self.guidance_scale}",
        )


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
