"""Figures and contact sheets on characters that training never sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aa_jax.config import RunConfig
from aa_jax.data.held_out import held_out_clips
from aa_jax.media import pictures
from aa_jax.media.provenance.mark import Mark
from aa_jax.media.video import write_video
from aa_jax.metrics import image, video
from aa_jax.models.autoencoder import Autoencoder, to_unit
from aa_jax.sampling.pipeline import Pipeline

Validation = Callable[[dict[str, Any], int], dict[str, float]]
"""(params of all networks, step) -> scalars.

Writes `validation/<step>.png` into the run folder, and `<step>.mp4` where clips are animated.
"""

AUTOENCODER_PICTURES = 64
VIDEO_FPS = 8.0


def make_validation(config: RunConfig, workdir: Path) -> Validation:
    """The validation of `config.train.task`."""
    make = {"autoencoder": _autoencoder, "animate": _animate}[config.train.task]
    return make(config, workdir)


def _autoencoder(config: RunConfig, workdir: Path) -> Validation:
    """Reconstruction of held-out pictures; sheets hold rows of pictures over their results."""
    vae = Autoencoder(config.model.autoencoder)
    scaling_factor = config.model.autoencoder.scaling_factor
    frames = held_out_clips(
        config, seed=config.eval.seed, characters=AUTOENCODER_PICTURES, frames=1
    ).targets[:, 0]

    @jax.jit
    def reconstruct(params: Any, frames: Any) -> Any:
        latents = vae.encode(params, to_unit(frames))
        return vae.decode_in_chunks(params, latents), latents / scaling_factor

    def validate(params: dict[str, Any], step: int) -> dict[str, float]:
        result, latents = jax.device_get(reconstruct(params["vae"], frames))
        result = np.clip(np.rint((result + 1.0) * 127.5), 0, 255).astype(np.uint8)
        rows = [
            list(half[start : start + 16])
            for start in range(0, len(frames), 16)
            for half in (frames, result)
        ]
        _write_sheet(workdir, step, rows)
        pairs = list(zip(frames, result, strict=True))
        return {
            "psnr": float(np.mean([image.psnr(*pair) for pair in pairs])),
            "ssim": float(np.mean([image.ssim(*pair) for pair in pairs])),
            "latent_std": float(latents.std()),
        }

    return validate


def _animate(config: RunConfig, workdir: Path) -> Validation:
    """Short animations of held-out characters.

    Sheets: reference, then truth over result. Videos: a row per character of reference, truth and
    result, in slow motion.
    """
    pipeline = Pipeline.of(config)
    clips = held_out_clips(
        config,
        seed=config.eval.seed,
        characters=config.train.validation_clips,
        frames=min(config.sampling.frames, config.eval.frames),
    )

    def validate(params: dict[str, Any], step: int) -> dict[str, float]:
        params = jax.tree.map(lambda x: x.astype(np.float32), params)
        results = pipeline.animate_batch(
            params,
            list(clips.references),
            clips.skeletons,
            steps=config.sampling.steps,
            sampler=config.sampling.sampler,
            guidance_scale=config.sampling.guidance_scale,
        )
        rows = [
            [reference, *frames]
            for reference, target, result in zip(
                clips.references, clips.targets, results, strict=True
            )
            for frames in (target, result)
        ]
        _write_sheet(workdir, step, rows)
        _write_video(workdir, step, [clips.references, clips.targets, results])
        return video.mean_metrics(clips.targets, results, clips.masks)

    return validate


def _write_sheet(workdir: Path, step: int, rows: list[list[np.ndarray]]) -> None:
    path = workdir / "validation" / f"{step:07d}.png"
    pictures.write_picture(path, pictures.contact_sheet(rows), _mark(step))


def _write_video(workdir: Path, step: int, columns: Sequence[np.ndarray]) -> None:
    references, targets, results = columns
    frames = (
        pictures.contact_sheet(
            [
                [reference, target[t], result[t]]
                for reference, target, result in zip(references, targets, results, strict=True)
            ]
        )
        for t in range(len(targets[0]))
    )
    path = workdir / "validation" / f"{step:07d}.mp4"
    write_video(path, frames, VIDEO_FPS, mark=_mark(step))


def _mark(step: int) -> Mark:
    return Mark("compositeSynthetic", {"training_step": str(step)})
