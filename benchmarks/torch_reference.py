"""What ours is measured against: sampling and training with PyTorch, step by step as ours.

The networks are those of `benchmarks/torch_networks.py`, with our parameters; the sampler is
diffusers', the optimizer PyTorch's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from aa_jax.config import ModelConfig, NoiseScheduleConfig, TrainConfig
from aa_jax.models import torch_names
from benchmarks import torch_networks
from benchmarks.torch_networks import Bank, PoseGuider, UNet


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
            "vae": lambda: torch_networks.autoencoder(config.autoencoder),
            "image_encoder": lambda: torch_networks.image_encoder(config.image_encoder),
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


def scheduler(config: NoiseScheduleConfig) -> DDIMScheduler:
    """diffusers' sampler for our noise schedule."""
    return DDIMScheduler(**dataclasses.asdict(config), clip_sample=False)


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
