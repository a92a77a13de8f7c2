"""A model's figures on held-out characters, beside those of simpler answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8
from tqdm import tqdm

from aa_jax import files, weights
from aa_jax.config import ConfigError, RunConfig, check_size
from aa_jax.data.held_out import HeldOutClips, held_out_clips
from aa_jax.media import pictures
from aa_jax.media.provenance.mark import Mark
from aa_jax.metrics import video
from aa_jax.sampling.marking import facts_of
from aa_jax.sampling.pipeline import Pipeline

Figures = dict[str, Any]

SHEET = "evaluation.png"
"""Name of the contact sheet."""


def run(
    config: RunConfig, *, weights_dir: str, json_file: Path | None, dump: Path | None
) -> Figures:
    """Evaluates weights, prints the figures and writes what was asked for.

    The held-out clips have the size and skeleton style of `config`; steps, guidance and schedule
    are those of the weights. The contact sheet `evaluation.png` goes into the folder of `dump` or
    `json_file`, or else into `runs/<config name>`.

    Args:
      weights_dir: weights directory with motion modules.
      json_file: where to write the figures.
      dump: folder for every picture compared.

    Returns:
      Metrics of `aa_jax.metrics.video` under `model`, `repeated_reference`, `stage1_only` (without
      motion modules, every frame from noise of its own) and `stage1_shared_noise` (every frame from
      frame 0's noise); and `seed`, `steps`, `guidance_scale`, `size`, `characters`, `frames`.

    Raises:
      ConfigError: the weights have no motion modules, or another VAE factor than the size allows.
      WeightsError: the weights cannot be loaded.
      OSError: a file cannot be written; told before the work begins.
    """
    found, params = weights.load(weights_dir)
    if not found.model.motion_module.enabled:
        raise ConfigError(f"{weights_dir} holds stage-1 weights without motion modules")
    check_size(config.data.width, config.data.height, found.model, where="data")
    sheet = (dump or (json_file.parent if json_file else Path("runs", config.name))) / SHEET
    for path in filter(None, (json_file, sheet)):
        files.check_writable(path)
    settings = config.eval
    config = dataclasses.replace(config, skeleton=found.skeleton)
    clips = held_out_clips(
        config, seed=settings.seed, characters=settings.characters, frames=settings.frames
    )

    full, stage1 = pipelines(found)
    noise = full.noise(settings.seed, settings.frames, config.data.height, config.data.width)
    shared = np.broadcast_to(noise[:1], noise.shape)
    results = {
        "model": _animate(full, params, clips, noise, found.sampling, settings.batch_size),
        "repeated_reference": np.broadcast_to(clips.references[:, None], clips.targets.shape),
        "stage1_only": _animate(stage1, params, clips, noise, found.sampling, settings.batch_size),
        "stage1_shared_noise": _animate(
            stage1, params, clips, shared, found.sampling, settings.batch_size
        ),
    }
    figures: Figures = {
        name: video.mean_metrics(clips.targets, result, clips.masks)
        for name, result in results.items()
    }
    print(table(figures))
    figures |= {
        "seed": settings.seed,
        "steps": found.sampling.steps,
        "guidance_scale": found.sampling.guidance_scale,
        "size": [config.data.width, config.data.height],
        "characters": settings.characters,
        "frames": settings.frames,
    }
    if json_file is not None:
        files.write_text(json_file, json.dumps(figures, indent=2) + "\n")
    facts = facts_of(
        weights.hashes(weights_dir),
        {name: figures[name] for name in ("seed", "steps", "guidance_scale")},
    )
    if dump is not None:
        _dump(dump, clips, results["model"], Mark(facts=facts))
    mark = Mark("compositeWithTrainedAlgorithmicMedia", facts)
    pictures.write_picture(sheet, contact_sheet(clips, results), mark)
    print(f"contact sheet written to {sheet}")
    return figures


def pipelines(found: weights.WeightsConfig) -> tuple[Pipeline, Pipeline]:
    """Of the whole model, and of its first stage, which has no motion modules."""
    full = Pipeline.of(found)
    still = dataclasses.replace(found.model.motion_module, enabled=False)
    return full, dataclasses.replace(
        full, model=dataclasses.replace(found.model, motion_module=still)
    )


def _animate(
    pipeline: Pipeline,
    params: PyTree,
    clips: HeldOutClips,
    noise: Float[Array, "t h w c"],
    sampling: Any,
    batch_size: int,
) -> UInt8[np.ndarray, "n t h w 3"]:
    parts = []
    motion = "with" if pipeline.model.motion_module.enabled else "without"
    starts = range(0, len(clips.references), batch_size)
    for start in tqdm(starts, desc=f"{motion} motion modules", unit="batch"):
        part = slice(start, start + batch_size)
        skeletons = clips.skeletons[part]
        parts.append(
            pipeline.animate_batch(
                params,
                list(clips.references[part]),
                skeletons,
                steps=sampling.steps,
                sampler=sampling.sampler,
                guidance_scale=sampling.guidance_scale,
                noise=np.broadcast_to(noise, (len(skeletons), *noise.shape)),
            )
        )
    return np.concatenate(parts)


def table(figures: Figures) -> str:
    """Metrics as lines of text, one answer a line."""
    columns = list(next(iter(figures.values())))
    lines = [" " * 20 + "".join(f"{column:>19}" for column in columns)]
    for name, values in figures.items():
        lines.append(f"{name:<20}" + "".join(f"{values[column]:>19.4f}" for column in columns))
    return "\n".join(lines)


def contact_sheet(clips: HeldOutClips, results: dict[str, Any], most: int = 8) -> np.ndarray:
    """Per character: reference, then true frames over the model's and stage 1's."""
    rows = []
    for i in range(min(most, len(clips.references))):
        for frames in (clips.targets[i], results["model"][i], results["stage1_only"][i]):
            rows.append([clips.references[i], *frames])
    return pictures.contact_sheet(rows)


def _dump(
    folder: Path, clips: HeldOutClips, results: UInt8[np.ndarray, "n t h w 3"], mark: Mark
) -> None:
    with files.replacing(folder) as part:
        for i, reference in enumerate(clips.references):
            character = part / f"{i:04d}"
            pictures.write_picture(character / "reference.png", reference)
            frames = zip(clips.targets[i], results[i], clips.masks[i], strict=True)
            for j, (target, result, mask) in enumerate(frames):
                pictures.write_picture(character / f"{j:02d}_target.png", target)
                pictures.write_picture(character / f"{j:02d}_result.png", result, mark)
                mask = mask.astype(np.uint8) * 255
                pictures.write_picture(character / f"{j:02d}_mask.png", mask)
