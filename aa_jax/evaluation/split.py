"""A model on the test split of a dataset, by a protocol: `--config configs/eval/ubc_fashion.py`.

Every clip of the split is animated from its first frame and its own poses, which is what published
figures are of; the generated frames are written as they are made, without loss, and then scored.
An interrupted run goes on from what is there, with the same figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from aa_jax import files, weights
from aa_jax.config import ConfigError, RunConfig, check_size
from aa_jax.data import dataset as datasets
from aa_jax.evaluation import folders
from aa_jax.evaluation.batch import Animator
from aa_jax.evaluation.clips import Clip, Pair
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.evaluation.networks import Networks
from aa_jax.evaluation.output import Output, deliver
from aa_jax.evaluation.true_clips import TrueClip, of_dataset
from aa_jax.media import pictures
from aa_jax.metrics.protocols import Protocol
from aa_jax.sampling.poses import DrawnSkeletons
from aa_jax.sampling.resume import digest

RESULTS = "results"
"""Folder of the generated clips, below that of the run."""


def run(config: RunConfig, *, weights_dir: str, output: Output, folder: Path | None) -> None:
    """Animates and scores a test split, prints the figures and writes what was asked for.

    Args:
      config: its `data.source`, `data.width` and `data.height`, `eval` and `mesh` are used; steps,
        guidance, schedule and skeleton style are those of the weights.
      weights_dir: of the model.
      output: where to write the figures and the report.
      folder: of the run; by default `runs/<config name>`.

    Raises:
      ConfigError: the weights cannot make pictures of this size.
      DatasetError: the dataset is missing, or has no split `test`.
      EvaluationError: a clip is too short, or the folder holds results of another run.
      WeightsError: the weights cannot be loaded.
    """
    if not weights_dir:
        raise ConfigError("--weights is missing; give the directory of the model to evaluate")
    protocol = folders.find_protocol(config.eval.protocol, "eval.protocol")
    output.check()
    found, params = weights.load(weights_dir)
    check_size(config.data.width, config.data.height, found.model, where="data")
    description = datasets.describe(Path(config.data.source))
    clips = true_clips(config, protocol)
    folder = (folder or Path("runs", config.name)) / RESULTS
    settings = {
        "seed": config.eval.seed,
        "steps": found.sampling.steps,
        "sampler": found.sampling.sampler,
        "guidance_scale": found.sampling.guidance_scale,
        "size": [config.data.width, config.data.height],
    }
    model = digest(sorted(weights.resolve(weights_dir).glob("*.*")))
    mark = {
        "protocol": protocol.name,
        "dataset": description.get("fingerprint", ""),
        "weights": model,
        **settings,
    }
    claim(folder, mark)
    animate(clips, folder, Animator.of(config, found, params))
    pairs = [Pair(Clip(clip.name, folder / clip.name), clip) for clip in clips]
    folders.check(pairs, protocol, print)
    result = folders.score_pairs(
        pairs,
        protocol,
        Networks.load(report=print),
        name=config.name,
        report=print,
        dataset=description["layout"],
        settings=settings,
        weights={"model": model},
        folders={"results": str(folder), "targets": str(config.data.source)},
    )
    deliver(output, result, pairs, protocol)


def true_clips(config: RunConfig, protocol: Protocol) -> list[TrueClip]:
    """The clips of the test split, or so many of them as `eval.clips` says.

    Raises:
      DatasetError: there is no such split.
      EvaluationError: the split is empty, or a clip has fewer frames than the protocol takes.
    """
    found = of_dataset(config.data.source)
    if not found:
        raise EvaluationError(f"{config.data.source}: its split test holds no clip")
    size, counted = (config.data.width, config.data.height), []
    for clip in found[: config.eval.clips or None]:
        length = protocol.first + protocol.frames if protocol.frames else clip.length
        if clip.length < max(length, protocol.first + 1):
            raise EvaluationError(
                f"{config.data.source}: clip {clip.name} has {clip.length} frames, and protocol "
                f"{protocol.name} takes frames {protocol.first} to {length - 1}"
            )
        counted.append(dataclasses.replace(clip, length=length, size=size))
    return counted


def claim(folder: Path, mark: dict[str, Any]) -> None:
    """Takes a folder for the results of a run, or goes on with that run's.

    Raises:
      EvaluationError: it holds those of another run, or something else.
    """
    found = folders.read_mark(folder)
    if found is None:
        if folder.exists() and any(folder.iterdir()):
            raise EvaluationError(
                f"{folder}: holds files that are no results of evaluate.py; give another --dump"
            )
        files.write_text(folder / folders.MARK, json.dumps(mark, indent=2) + "\n")
        return
    for field, value in json.loads(json.dumps(mark)).items():
        if found.get(field) != value:
            raise EvaluationError(
                f"{folder}: its results were made with {field}={found.get(field)}, not {value}; "
                "give another --dump or remove it"
            )


def animate(clips: Sequence[TrueClip], folder: Path, animator: Animator) -> None:
    """Generates the clips that are not there yet, and writes each when it is done.

    Clips that are animated together are the same whatever is there already, so that a run that was
    interrupted makes the same frames as one that was not.
    """
    missing = {clip.name for clip in clips if not (folder / clip.name).exists()}
    if len(missing) < len(clips):
        print(f"{len(clips) - len(missing)} of {len(clips)} clips are there already")
    with tqdm(total=len(missing), desc="animating", unit="clip") as bar:
        for batch in animator.batches(clips):
            todo = [clip for clip in batch if clip.name in missing]
            if not todo:
                continue
            for clip, frames in zip(batch, animate_batch(batch, animator), strict=True):
                if clip.name in missing:
                    write_frames(folder / clip.name, frames)
            bar.update(len(todo))


def animate_batch(
    clips: Sequence[TrueClip], animator: Animator
) -> list[Iterator[UInt8[np.ndarray, "some h w 3"]]]:
    """Frames of every clip, from its first frame and its own poses."""
    references = [clip.clip.pictures([0], clip.size)[0] for clip in clips]
    skeletons = [
        DrawnSkeletons(
            clip.clip.keypoints(range(clip.length), clip.size), *clip.size, animator.skeleton
        )
        for clip in clips
    ]
    return animator(references, skeletons)


def write_frames(folder: Path, chunks: Iterator[UInt8[np.ndarray, "some h w 3"]]) -> None:
    """Writes a clip as numbered PNGs, whole or not at all.

    Raises:
      EvaluationError: all its pixels are equal, which is what becomes of NaN.
    """
    with files.replacing(folder) as part:
        index, values = 0, set()
        for chunk in chunks:
            values |= {int(chunk.min()), int(chunk.max())}
            for frame in chunk:
                pictures.write_picture(part / f"{index:05d}.png", frame)
                index += 1
        if len(values) < 2:
            raise EvaluationError(
                f"clip {folder.name}: every pixel of its {index} frames is the same; the model "
                "gives NaN or nothing"
            )
