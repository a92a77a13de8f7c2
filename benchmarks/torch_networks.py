"""The networks in PyTorch, in the public implementation's graph.

Built of diffusers' and transformers' own modules in the graph of MooreThreads/Moore-AnimateAnyone:

- Every transformer block of the denoising UNet attends to its own tokens and, repeated for every
  frame, to what the same block of the ReferenceNet saw (its norm1's output).
- With classifier-free guidance that attention is computed for the whole batch, and once more,
  without reference, for the unconditional half, whose first result is thrown away.
- Cross-attention is computed in full, also over a single context token.
- AnimateDiff's motion modules, whose GroupNorm runs per frame.
- `F.scaled_dot_product_attention` everywhere.

What costs that implementation time without being part of the graph is left out: frames stay merged
with the batch instead of being moved there and back around every layer. State-dict keys are those
of `aa_jax.models.torch_names`, so that our parameters load as they are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    UNetConfig,
)
from aa_jax.models.motion_module import position_table

Bank = dict[str, Tensor]
"""Tokens [b, s, c] of the reference pictures at every transformer block, by the block's name."""


# --- layers -------------------------------------------------------------------------------------


class ReferenceBlock(BasicTransformerBlock):
    """A transformer block that hands over its norm1 tokens, or attends to those handed to it."""

    def forward(
        self, x: Tensor, context: Tensor, reference: Tensor | None, guided: bool
    ) -> tuple[Tensor, Tensor]:
        """One block.

        Args:
          x: [b t, s, c].
          context: [b t, r, e].
          reference: [b, s, c] or None.
          guided: the first half of the batch is unconditional.

        Returns:
          The new tokens, and norm1's output.
        """
        normed = self.norm1(x)
        if reference is None:
            attended = self.attn1(normed)
        else:
            frames = len(x) // len(reference)
            bank = repeat(reference, "b s c -> (b t) s c", t=frames)
            attended = self.attn1(normed, encoder_hidden_states=torch.cat([normed, bank], 1))
            if guided:
                half = len(x) // 2
                plain = self.attn1(normed[:half])
                attended = torch.cat([plain, attended[half:]])
        x = x + attended
        x = x + self.attn2(self.norm2(x), encoder_hidden_states=context)
        return x + self.ff(self.norm3(x)), normed


class TemporalTransformerBlock(nn.Module):
    """Self-attentions over the frames and a feed-forward network, each normed and residual."""

    def __init__(self, config: MotionModuleConfig, channels: int):
        super().__init__()
        layers, heads = config.num_attention_layers, config.num_attention_heads
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.attention_blocks = nn.ModuleList(
            Attention(channels, heads=heads, dim_head=channels // heads) for _ in range(layers)
        )
        self.ff_norm, self.ff = nn.LayerNorm(channels), FeedForward(channels)
        table = torch.from_numpy(position_table(config.max_positions, channels))
        self.register_buffer("positions", table[None], persistent=False)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[b t, s, c] to the same."""
        tokens = x.shape[1]
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            y = rearrange(norm(x), "(b t) s c -> (b s) t c", t=frames)
            y = attention(y + self.positions[:, :frames].to(y.dtype))
            x = x + rearrange(y, "(b s) t c -> (b t) s c", s=tokens)
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """Norm and projections around the temporal blocks."""

    def __init__(self, config: MotionModuleConfig, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(config, channels) for _ in range(config.num_transformer_blocks)
        )

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[b t, c, h, w] to the same."""
        if torch.is_grad_enabled() and not (x.requires_grad or torch.compiler.is_compiling()):
            # On a CPU, PyTorch 2.13 can crash in the backward pass of a GroupNorm whose weights
            # learn and whose input does not: in stage 2, that of the first motion module.
            x = x.detach().requires_grad_()
        y = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        for block in self.transformer_blocks:
            y = block(y, frames)
        return x + rearrange(self.proj_out(y), "n (h w) c -> n c h w", h=x.shape[2])


class MotionModule(nn.Module):
    """A temporal transformer under the name AnimateDiff gives it."""

    def __init__(self, config: MotionModuleConfig, channels: int):
        super().__init__()
        self.temporal_transformer = TemporalTransformer(config, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[b t, c, h, w] to the same."""
        return self.temporal_transformer(x, frames)


# --- networks -----------------------------------------------------------------------------------


class UNet(UNet2DConditionModel):
    """diffusers' UNet with reference attention and, optionally, motion modules.

    Attributes:
      recompute: whether the backward pass recomputes every layer from its input.
    """

    recompute = False

    @classmethod
    def create(
        cls, config: UNetConfig, motion: MotionModuleConfig | None, *, has_output: bool
    ) -> UNet:
        """A UNet of an architecture, with random parameters.

        The ReferenceNet has no output: neither norm nor convolution after the last block.
        """
        names = ["CrossAttn" if attention else "" for attention in config.attention_levels]
        unet = cls(
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            down_block_types=tuple(f"{name}DownBlock2D" for name in names),
            up_block_types=tuple(f"{name}UpBlock2D" for name in reversed(names)),
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            attention_head_dim=config.num_attention_heads,  # which is what it means
            cross_attention_dim=config.cross_attention_dim,
            norm_num_groups=config.norm_num_groups,
        )
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
            width = block.resnets[0].out_channels
            for transformer in getattr(block, "attentions", ()):
                heads = config.num_attention_heads
                transformer.transformer_blocks[0] = ReferenceBlock(
                    width, heads, width // heads, cross_attention_dim=config.cross_attention_dim
                )
            here = block is not unet.mid_block or (motion is not None and motion.mid_block)
            if motion is not None and here:
                layers = 1 if block is unet.mid_block else len(block.resnets)
                block.motion_modules = nn.ModuleList(
                    MotionModule(motion, width) for _ in range(layers)
                )
        if not has_output:
            del unet.conv_norm_out, unet.conv_out
        return unet

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        context: Tensor,
        pose_features: Tensor | None = None,
        reference: Bank | None = None,
        guided: bool = False,
    ) -> tuple[Tensor, Bank]:
        """Denoises clips.

        Args:
          latents: [b, t, c, h, w].
          timesteps: [b].
          context: [b, r, e].
          pose_features: [b t, c, h, w].
          reference: what the ReferenceNet returned.
          guided: the first half of the batch is unconditional.

        Returns:
          The prediction [b, t, c, h, w], or what the last block makes of the latents where there
          is no output convolution; and all norm1 tokens.
        """
        frames = latents.shape[1]
        dtype = self.conv_in.weight.dtype
        embedding = self.time_embedding(self.time_proj(timesteps).to(dtype))
        embedding = repeat(embedding, "b c -> (b t) c", t=frames)
        context = repeat(context.to(dtype), "b r e -> (b t) r e", t=frames)
        bank: Bank = {}

        def layer(block: nn.Module, name: str, i: int, x: Tensor) -> Tensor:
            x = self._call(block.resnets[i], x, embedding)
            if hasattr(block, "attentions"):
                seen = None if reference is None else reference[f"{name}.{i}"]
                transformer = block.attentions[i]
                x, bank[f"{name}.{i}"] = self._call(
                    _transform, transformer, x, context, seen, guided
                )
            if hasattr(block, "motion_modules"):
                x = self._call(block.motion_modules[i], x, frames)
            return x

        x = self.conv_in(rearrange(latents.to(dtype), "b t c h w -> (b t) c h w"))
        if pose_features is not None:
            x = x + pose_features
        skips = [x]
        for n, block in enumerate(self.down_blocks):
            for i in range(len(block.resnets)):
                x = layer(block, f"down.{n}", i, x)
                skips.append(x)
            for downsample in block.downsamplers or ():
                x = downsample(x)
                skips.append(x)
        x = layer(self.mid_block, "mid", 0, x)
        x = self._call(self.mid_block.resnets[1], x, embedding)
        for n, block in enumerate(self.up_blocks):
            for i in range(len(block.resnets)):
                x = layer(block, f"up.{n}", i, torch.cat([x, skips.pop()], 1))
            for upsample in block.upsamplers or ():
                x = upsample(x)
        if hasattr(self, "conv_out"):
            x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return rearrange(x.float(), "(b t) c h w -> b t c h w", t=frames), bank

    def _call(self, layer: Callable[..., Any], *arguments: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *arguments, use_reentrant=False)
        return layer(*arguments)


def _transform(
    transformer: nn.Module, x: Tensor, context: Tensor, reference: Tensor | None, guided: bool
) -> tuple[Tensor, Tensor]:
    """A spatial transformer [n, c, h, w] to the same, and its block's norm1 tokens [n, s, c]."""
    y = transformer.proj_in(transformer.norm(x))
    y = rearrange(y, "n c h w -> n (h w) c")
    y, normed = transformer.transformer_blocks[0](y, context, reference, guided)
    y = rearrange(y, "n (h w) c -> n c h w", h=x.shape[2]).contiguous()
    return x + transformer.proj_out(y), normed


class PoseGuider(nn.Module):
    """The hint encoder of ControlNet, which Moore-AnimateAnyone uses."""

    def __init__(self, config: PoseGuiderConfig, features: int, downscale_factor: int):
        super().__init__()
        if config.kind != "controlnet":
            raise ValueError(f"model.pose_guider.kind={config.kind!r}: only controlnet has a twin")
        widths = config.block_out_channels
        halvings = downscale_factor.bit_length() - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for i, (width, wider) in enumerate(itertools.pairwise(widths)):
            stride = 2 if i < halvings else 1
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, wider, 3, stride=stride, padding=1))
        self.conv_out = nn.Conv2d(widths[-1], features, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, y, x] in 0..1 to [n, c, h, w]."""
        x = F.silu(self.conv_in(pictures))
        for convolution in self.blocks:
            x = F.silu(convolution(x))
        return self.conv_out(x)


def autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """diffusers' VAE of an architecture, with random parameters."""
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scaling_factor,
    )


def image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """transformers' CLIP image encoder of an architecture, with random parameters."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig(**dataclasses.asdict(config)))
