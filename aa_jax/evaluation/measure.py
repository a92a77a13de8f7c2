"""A model's figures on held-out characters, beside those of simpler answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8
from tqdm import tqdm

from aa_jax import files, weights
from aa_jax.config import ConfigError, RunConfig, check_size
from aa_jax.data.held_out import HeldOutClips, held_out_clips
from aa_jax.evaluation import sheets
from aa_jax.evaluation.networks import Networks
from aa_jax.evaluation.output import Output
from aa_jax.evaluation.scoring import Scores
from aa_jax.experiments.results import Result, as_json, dumps
from aa_jax.media import pictures
from aa_jax.media.provenance.mark import Mark
from aa_jax.metrics import protocols, video
from aa_jax.sampling.marking import facts_of
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.resume import digest

Figures = dict[str, Any]

SHEET = "evaluation.png"
"""Name of the contact sheet."""

NETWORKS = ("lpips_alex", "lpips_vgg", "fvd")
"""Metrics beside those of `aa_jax.metrics.video`; None where their networks have no weights."""


def run(config: RunConfig, *, weights_dir: str, output: Output, dump: Path | None) -> Figures:
    """Evaluates weights, prints the figures and writes what was asked for.

    The held-out clips have the size and skeleton style of `config`; steps, guidance and schedule
    are those of the weights. The contact sheet `evaluation.png` goes into the folder of `dump` or
    `output.json`, or else into `runs/<config name>`.

    Args:
      weights_dir: weights directory with motion modules.
      output: where to write the figures and the report.
      dump: folder for every picture compared.

    Returns:
      Metrics of `aa_jax.metrics.video`, and those of `NETWORKS`, under `model`,
      `repeated_reference`, `stage1_only` (without motion modules, every frame from noise of its
      own) and `stage1_shared_noise` (every frame from frame 0's noise); `seed`, `steps`,
      `guidance_scale`, `size`, `characters`, `frames`; and under `results` all of it as
      `aa_jax.experiments.results` has it, with intervals and every clip's own figures.

    Raises:
      ConfigError: the weights have no motion modules, or another VAE factor than the size allows.
      WeightsError: the weights cannot be loaded.
      OSError: a file cannot be written; told before the work begins.
    """
    found, params = weights.load(weights_dir)
    if not found.model.motion_module.enabled:
        raise ConfigError(f"{weights_dir} holds stage-1 weights without motion modules")
    check_size(config.data.width, config.data.height, found.model, where="data")
    settings = config.eval
    if settings.frames < 2:
        raise ConfigError(f"eval.frames must be at least 2, to see change, got {settings.frames}")
    sheet = (dump or (output.json.parent if output.json else Path("runs", config.name))) / SHEET
    output.check()
    files.check_writable(sheet)
    config = dataclasses.replace(config, skeleton=found.skeleton)
    clips = held_out_clips(
        config, seed=settings.seed, characters=settings.characters, frames=settings.frames
    )
    results = answers(config, found, params, clips)
    scored = score(
        clips,
        results,
        settings={
            "seed": settings.seed,
            "steps": found.sampling.steps,
            "guidance_scale": found.sampling.guidance_scale,
            "size": [config.data.width, config.data.height],
        },
        weights={"model": digest(sorted(weights.resolve(weights_dir).glob("*.*")))},
    )
    figures: Figures = {result.name: _mean_figures(result) for result in scored}
    print(table(figures))
    figures |= {
        **scored[0].settings,
        "characters": settings.characters,
        "frames": settings.frames,
        "results": [as_json(result) for result in scored],
    }
    del figures["protocol"]  # stands in every result
    if output.json is not None:
        files.write_text(output.json, dumps(figures))
    facts = facts_of(
        weights.hashes(weights_dir),
        {name: figures[name] for name in ("seed", "steps", "guidance_scale")},
    )
    if dump is not None:
        _dump(dump, clips, results["model"], Mark(facts=facts))
    mark = Mark("compositeSynthetic", facts)
    pictures.write_picture(sheet, contact_sheet(clips, results), mark)
    print(f"contact sheet written to {sheet}")
    places = {clip["name"]: place for place, clip in enumerate(scored[0].per_clip)}

    def clip_of(name: str) -> tuple[np.ndarray, np.ndarray]:
        return clips.targets[places[name]], results["model"][places[name]]

    output.write_report(scored, sheets.best_median_worst(scored[0], clip_of))
    return figures


def answers(
    config: RunConfig, found: weights.WeightsConfig, params: PyTree, clips: HeldOutClips
) -> dict[str, UInt8[np.ndarray, "n t h w 3"]]:
    """The model's clips, and those of simpler answers, by name."""
    settings = config.eval
    full, stage1 = pipelines(found)
    noise = full.noise(settings.seed, settings.frames, config.data.height, config.data.width)
    shared = np.broadcast_to(noise[:1], noise.shape)
    size = settings.batch_size
    return {
        "model": _animate(full, params, clips, noise, found.sampling, size),
        "repeated_reference": np.broadcast_to(clips.references[:, None], clips.targets.shape),
        "stage1_only": _animate(stage1, params, clips, noise, found.sampling, size),
        "stage1_shared_noise": _animate(stage1, params, clips, shared, found.sampling, size),
    }


def score(clips: HeldOutClips, results: dict[str, Any], **about: Any) -> list[Result]:
    """Figures of every answer by the protocol of the puppets.

    Args:
      clips: the true ones.
      results: generated ones by the answer's name.
      about: further fields of `Result`, the same for all.
    """
    networks = Networks.load(NETWORKS, report=print)
    true_features: dict[tuple[str, str], np.ndarray] = {}  # those of all answers
    scored = []
    for name, frames in results.items():
        scores = Scores(protocols.find("puppets"), networks, true_features=true_features)
        whole = zip(clips.targets, frames, clips.masks, strict=True)
        for index, (target, result, mask) in enumerate(
            tqdm(whole, desc=f"measuring {name}", unit="clip", total=len(frames))
        ):
            figures = video.clip_metrics(target, result, mask)
            scores.add(f"{index:04d}", target, result, **figures)
        scored.append(scores.result(name, report=print, dataset="puppets", **about))
    return scored


def _mean_figures(result: Result) -> dict[str, float | None]:
    """What `aa_jax.metrics.video` measures of a clip, then what needs networks."""
    beside = ("psnr_disco_uint8", "l1", *NETWORKS)  # `mae` is what l1 is here
    figures: dict[str, float | None] = {}
    for name in result.metrics:
        if name in beside:
            continue
        known = name not in result.missing
        figures[name] = float(np.mean([clip[name] for clip in result.per_clip])) if known else None
    return figures | {name: result.metrics[name] for name in NETWORKS}


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
    """Metrics as lines of text, one answer a line; a dash for one that could not be measured."""
    columns = list(next(iter(figures.values())))
    lines = [" " * 20 + "".join(f"{column:>19}" for column in columns)]
    for name, values in figures.items():
        cells = ("-" if x is None else f"{x:.4f}" for x in map(values.get, columns))
        lines.append(f"{name:<20}" + "".join(f"{cell:>19}" for cell in cells))
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
