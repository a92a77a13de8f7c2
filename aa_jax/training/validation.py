"""Figures and contact sheets on characters that training never sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aa_jax.config import RunConfig
from aa_jax.data import pictures, puppets
from aa_jax.metrics import image
from aa_jax.models.autoencoder import Autoencoder
from aa_jax.training.losses import to_unit

Validation = Callable[[dict[str, Any], int], dict[str, float]]
"""(params of all networks, step) -> scalars; writes `validation/<step>.png` into the run folder."""

AUTOENCODER_FRAMES = 64


def make_validation(config: RunConfig, workdir: Path) -> Validation:
    """The validation of `config.train.task`."""
    make = {"autoencoder": _autoencoder, "animate": _animate}[config.train.task]
    return make(config, workdir)


def _autoencoder(config: RunConfig, workdir: Path) -> Validation:
    vae = Autoencoder(config.model.autoencoder)
    scaling_factor = config.model.autoencoder.scaling_factor
    clips = puppets.PuppetClips(split="eval", seed=0, clips=AUTOENCODER_FRAMES)
    size = {"width": config.data.width, "height": config.data.height}
    frames = np.concatenate([clips[i].render([i], **size)[0] for i in range(len(clips))])

    @jax.jit
    def reconstruct(params: Any, frames: Any) -> Any:
        latents = vae.encode(params, to_unit(frames))
        return vae.decode_in_chunks(params, latents), latents / scaling_factor

    def validate(params: dict[str, Any], step: int) -> dict[str, float]:
        result, latents = jax.device_get(reconstruct(params["vae"], frames))
        result = to_uint8(result)
        columns = 16
        rows = []
        for start in range(0, min(len(frames), 4 * columns), columns):
            rows += [list(frames[start : start + columns]), list(result[start : start + columns])]
        _write_sheet(workdir, step, rows)
        return {
            "psnr": np.mean([image.psnr(a, b) for a, b in zip(frames, result, strict=True)]),
            "ssim": np.mean([image.ssim(a, b) for a, b in zip(frames, result, strict=True)]),
            "latent_std": latents.std(),
        }

    return validate


def _animate(config: RunConfig, workdir: Path) -> Validation:
    raise NotImplementedError


def to_uint8(pictures: np.ndarray) -> np.ndarray:
    """Pictures about -1..1 as 8-bit RGB."""
    return np.clip(np.rint((pictures + 1.0) * 127.5), 0, 255).astype(np.uint8)


def _write_sheet(workdir: Path, step: int, rows: list[list[np.ndarray]]) -> None:
    pictures.write_picture(workdir / "validation" / f"{step:07d}.png", pictures.contact_sheet(rows))
