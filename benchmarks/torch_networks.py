"""The networks in PyTorch, in the public implementation's graph: what ours is measured against.

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
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    PoseGuiderConfig,
    TrainConfig,
    UNetConfig,
)
from aa_jax.models import torch_names
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


def _autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
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


def _image_encoder(config: ImageEncoderConfig) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig(**dataclasses.asdict(config)))


def scheduler(config: NoiseScheduleConfig) -> DDIMScheduler:
    """diffusers' sampler for our noise schedule."""
    return DDIMScheduler(**dataclasses.asdict(config), clip_sample=False)


# --- sampling and training ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What the denoising UNet sees beside the latents, for both halves of a guided batch."""

    context: Tensor
    reference: Bank
    pose_features: Tensor


class Model:
    """All networks of one model, with our parameters; arrays in and out are laid out as ours are.

    Attributes:
      networks: by the names of `aa_jax.config.NETWORKS`; motion modules are the denoising UNet's.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        schedule: NoiseScheduleConfig,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ):
        """Builds the networks there are parameters for.

        Args:
          config: the architecture.
          params: our parameter trees by network name.
          schedule: the noise schedule.
          device: where to compute.
          dtype: of parameters and computation.
          channels_last: how convolutions lay out their arrays.
        """
        self.config, self.device, self.scheduler = config, device, scheduler(schedule)
        unet, guider, factor = config.unet, config.pose_guider, config.autoencoder.downscale_factor
        motion = config.motion_module if config.motion_module.enabled else None
        makers: dict[str, Callable[[], nn.Module]] = {
            "vae": lambda: _autoencoder(config.autoencoder),
            "image_encoder": lambda: _image_encoder(config.image_encoder),
            "reference_unet": lambda: UNet.create(unet, None, has_output=False),
            "denoising_unet": lambda: UNet.create(unet, motion, has_output=True),
            "pose_guider": lambda: PoseGuider(guider, unet.block_out_channels[0], factor),
        }
        self.networks: dict[str, nn.Module] = {}
        for name in [name for name in makers if name in params]:
            state = torch_names.to_torch(params[name])
            if name == "denoising_unet":
                state |= torch_names.to_torch(params.get("motion_module", {}))
            module = makers[name]().eval()
            _load(module, {key: torch.from_numpy(x) for key, x in state.items()})
            layout = torch.channels_last if channels_last else torch.contiguous_format
            # Not diffusers' own `to`, which warns of what does not concern these networks.
            self.networks[name] = nn.Module.to(module, device, dtype, memory_format=layout)

    def compile(self) -> None:
        """Has `torch.compile` compile every network when it is first called."""
        for network in self.networks.values():
            parts = (network,)
            if isinstance(network, AutoencoderKL):  # which is called by methods of its own
                parts = (network.encoder, network.decoder)
            for part in parts:
                part.compile()

    # --- sampling -----------------------------------------------------------------------------

    @torch.no_grad()
    def encode(
        self, references: np.ndarray, clip_pixels: np.ndarray, skeletons: np.ndarray
    ) -> Conditions:
        """As `Pipeline.encode`: uint8 [b, h, w, 3], float32 [b, s, s, 3], uint8 [b, t, h, w, 3]."""
        pictures = self._pictures(references) / 127.5 - 1
        vae = self.networks["vae"]
        latents = vae.encode(pictures.to(vae.dtype)).latent_dist.mean * vae.config.scaling_factor
        image_encoder = self.networks["image_encoder"]
        pixels = self._pictures(clip_pixels).to(image_encoder.dtype)
        embeds = image_encoder(pixel_values=pixels).image_embeds[:, None]
        context = torch.cat([torch.zeros_like(embeds), embeds])
        bank = self.encode_reference(torch.cat([latents] * 2), context)
        features = self._pose_features(skeletons)
        return Conditions(context, bank, torch.cat([features] * 2))

    def encode_reference(self, latents: Tensor, context: Tensor) -> Bank:
        """What the ReferenceNet sees in latents [b, c, h, w] with a context [b, r, e]."""
        timesteps = torch.zeros(len(latents), device=latents.device)
        _, bank = self.networks["reference_unet"](latents[:, None], timesteps, context)
        return bank

    def _pose_features(self, skeletons: np.ndarray) -> Tensor:
        """[b t, c, h, w] of uint8 [b, t, y, x, 3]."""
        guider = self.networks["pose_guider"]
        frames = self._pictures(rearrange(skeletons, "b t y x c -> (b t) y x c")) / 255
        return guider(frames.to(guider.conv_in.weight.dtype))

    @torch.no_grad()
    def denoise(
        self, conditions: Conditions, noise: np.ndarray, *, steps: int, guidance_scale: float
    ) -> Tensor:
        """As `Pipeline.denoise`, [b, t, h, w, c] to [b, t, c, h, w], always with guidance."""
        self.scheduler.set_timesteps(steps)
        latents = torch.from_numpy(noise).to(self.device).movedim(-1, 2)
        for timestep in self.scheduler.timesteps:
            both, _ = self.networks["denoising_unet"](
                torch.cat([latents] * 2),
                timestep.to(self.device).expand(2 * len(latents)),
                conditions.context,
                conditions.pose_features,
                conditions.reference,
                guided=True,
            )
            unconditional, conditional = both.chunk(2)
            prediction = unconditional + guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(prediction, timestep, latents).prev_sample
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents [n, c, h, w] to uint8 pictures [n, y, x, 3], frame by frame."""
        vae = self.networks["vae"]
        frames = []
        for frame in latents.split(1):
            picture = vae.decode(frame.to(vae.dtype) / vae.config.scaling_factor).sample
            pixels = ((picture.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            frames.append(pixels.movedim(1, -1).cpu().numpy())
        return np.concatenate(frames)

    # --- training -----------------------------------------------------------------------------

    def loss(self, batch: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray]) -> Tensor:
        """The denoising loss of either stage, for examples that all have their condition.

        Args:
          batch: what the training step takes with latents encoded beforehand.
          draws: the step's random numbers: `timesteps` [b], `noise` and `latents` [b, t, h, w, c].
        """
        scale = self.config.autoencoder.scaling_factor
        mean, logvar = self._tensor(batch["target_moments"]).chunk(2, -1)
        clean = (mean + torch.exp(logvar / 2) * self._tensor(draws["latents"])) * scale
        clean, noise = clean.movedim(-1, 2), self._tensor(draws["noise"]).movedim(-1, 2)
        reference = self._tensor(batch["reference_moments"]).chunk(2, -1)[0] * scale
        timesteps = self._tensor(draws["timesteps"])
        context = self._tensor(batch["image_embeds"])
        prediction, _ = self.networks["denoising_unet"](
            self.scheduler.add_noise(clean, noise, timesteps),
            timesteps,
            context,
            self._pose_features(batch["skeleton"]),
            self.encode_reference(reference.movedim(-1, 1), context),
        )
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, timesteps)
        return F.mse_loss(prediction, target)

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(x)).to(self.device)

    def _pictures(self, x: np.ndarray) -> Tensor:
        """[n, y, x, c] to float32 [n, c, y, x]."""
        return self._tensor(x).movedim(-1, 1).float()


class Trainer:
    """AdamW on the networks that learn, behind global-norm clipping."""

    def __init__(self, model: Model, config: TrainConfig):
        """Freezes what `config.trainable` does not name."""
        self.model, self.config = model, config
        self.trainable: list[nn.Parameter] = []
        for name, network in model.networks.items():
            network.train()
            network.recompute = config.remat != "none"
            for key, parameter in network.named_parameters():
                part = "motion_module" if ".motion_modules." in key else name
                parameter.requires_grad_(part in config.trainable)
                if parameter.requires_grad:
                    self.trainable.append(parameter)
        self.optimizer = torch.optim.AdamW(
            self.trainable,
            lr=config.learning_rate,
            betas=(config.adam_b1, config.adam_b2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(
        self, batch: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray]
    ) -> tuple[float, float]:
        """One optimizer step; returns its loss and the gradients' norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        mixed = self.config.dtype != "float32"
        device = torch.device(self.model.device).type
        with torch.autocast(device, getattr(torch, self.config.dtype), enabled=mixed):
            loss = self.model.loss(batch, draws)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trainable, self.config.max_grad_norm)
        self.optimizer.step()
        return loss.item(), norm.item()


def device() -> str:
    """Where PyTorch computes: the GPU if it sees one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Returns when the GPU, if any, has done everything asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads parameters, all and no others, but for those that no result depends on."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"{type(module).__name__}: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
