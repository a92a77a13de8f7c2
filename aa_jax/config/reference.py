"""What tells the denoising UNet of the reference picture: the paper's way and its rivals."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from aa_jax.config.reading import require

Kind = Literal[
    "reference_net", "clip", "controlnet", "clip_controlnet", "resnet", "ip_adapter", "none"
]
Fusion = Literal["spatial_attention", "concatenation"]

VARIANT_NETWORKS = (
    "controlnet",
    "resnet",
    "resnet_projection",
    "reference_fusion",
    "ip_adapter",
    "prompt",
    "pose_controlnet",
)
"""The parameter trees that other kinds of reference, or of pose, than the paper's bring along."""

_TREES: dict[Kind, tuple[str, ...]] = {
    "reference_net": ("image_encoder", "reference_unet"),
    "clip": ("image_encoder",),
    "controlnet": ("controlnet",),
    "clip_controlnet": ("image_encoder", "controlnet"),
    "resnet": ("image_encoder", "resnet", "resnet_projection"),
    "ip_adapter": ("image_encoder", "ip_adapter", "prompt"),
    "none": (),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """How the denoising UNet sees the reference picture; defaults: the paper's ReferenceNet.

    Attributes:
      kind: `reference_net`: features of a second UNet. `clip`: the image embedding alone.
        `controlnet`: a ControlNet whose hint is the reference picture, without the image embedding.
        `clip_controlnet`: both. `resnet`: features of an ImageNet ResNet-50 through 1x1
        convolutions to each level. `ip_adapter`: tokens made of the image embedding, which an
        attention of their own reads beside that to a constant prompt (`IPAdapterConfig`).
        `none`: nothing, the fine-tuned Stable Diffusion that a ControlNet starts from. All but
        `controlnet` and `none` see the image embedding.
      fusion: how features (`reference_net`, `resnet`) reach the denoising UNet's transformer
        blocks: as further keys and values of their self-attention, or concatenated on channels
        before them, with a 1x1 convolution back.
      hint_channels: widths of the ControlNet's hint encoder (diffusers:
        `conditioning_embedding_out_channels`).
      resnet_layers: bottleneck blocks of the ResNet's four stages; (3, 4, 6, 3) is ResNet-50.
      resnet_width: its first width.
    """

    kind: Kind = "reference_net"
    fusion: Fusion = "spatial_attention"
    hint_channels: tuple[int, ...] = (16, 32, 96, 256)
    resnet_layers: tuple[int, ...] = (3, 4, 6, 3)
    resnet_width: int = 64

    def __post_init__(self) -> None:
        require(
            self.fusion == "spatial_attention" or self.has_features,
            f"model.reference.fusion: {self.kind!r} has no features to be joined by "
            f"{self.fusion}; only reference_net and resnet have",
        )
        require(
            len(self.resnet_layers) == 4 and min(self.resnet_layers) >= 1,
            "model.reference.resnet_layers: a ResNet has four stages of one block or more, got "
            f"{self.resnet_layers}",
        )
        require(
            self.resnet_width >= 1
            and len(self.hint_channels) >= 1
            and min(self.hint_channels) >= 1,
            "model.reference: resnet_width and hint_channels must be at least 1",
        )

    @property
    def has_features(self) -> bool:
        """Whether transformer blocks are given features."""
        return self.kind in ("reference_net", "resnet")

    @property
    def has_embedding(self) -> bool:
        """Whether cross-attention sees the image embedding; otherwise zeros."""
        return "image_encoder" in _TREES[self.kind]

    @property
    def reads_latents(self) -> bool:
        """Whether it is made of the reference picture's latents."""
        return self.kind == "reference_net"

    @property
    def reads_picture(self) -> bool:
        """Whether it is made of the reference picture's pixels, at the video's size."""
        return self.kind in ("controlnet", "clip_controlnet", "resnet")

    @property
    def networks(self) -> tuple[str, ...]:
        """The parameter trees it needs."""
        fusion = ("reference_fusion",) if self.fusion == "concatenation" else ()
        return _TREES[self.kind] + fusion


@dataclasses.dataclass(frozen=True, kw_only=True)
class IPAdapterConfig:
    """IP-Adapter: a picture as tokens with keys and values of their own; defaults: ip-adapter_sd15.

    Attributes:
      projection: `linear`: of the image embedding. `resampler`: a perceiver over the image
        encoder's penultimate hidden states, as in ip-adapter-plus_sd15.
      tokens: how many it makes: 4, and 16 in ip-adapter-plus_sd15.
      scale: weight of the attention to them beside that to the prompt. May be changed in a weights
        directory's `config.json`.
      resampler_width: channels inside the resampler.
      resampler_layers: its layers of attention and feed-forward network.
      resampler_heads: heads of each.
      resampler_head_dim: channels of a head.
    """

    projection: Literal["linear", "resampler"] = "linear"
    tokens: int = 4
    scale: float = 1.0
    resampler_width: int = 768
    resampler_layers: int = 4
    resampler_heads: int = 12
    resampler_head_dim: int = 64

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            require(
                field.name in ("projection", "scale") or value >= 1,
                f"model.ip_adapter.{field.name} must be at least 1, got {value}",
            )
        require(
            math.isfinite(self.scale) and self.scale >= 0,
            f"model.ip_adapter.scale must be a number from 0 up, got {self.scale}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """What cross-attention reads where Stable Diffusion reads a text, next to an IP-Adapter.

    Attributes:
      tokens: CLIP's text encoder makes 77.
    """

    tokens: int = 77

    def __post_init__(self) -> None:
        require(self.tokens >= 1, f"model.prompt.tokens must be at least 1, got {self.tokens}")
