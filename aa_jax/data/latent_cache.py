"""Latents and image embeddings of a dataset, computed once instead of at every training step.

A cache is named by everything it follows from: the VAE and the image encoder (their numbers, not
their files), the sizes that clips are cropped to, the dtype of the computation, and the dataset:

    DATA/latents/<sizes>-<hash>/latents.json           what it was made of; written last
    DATA/latents/<sizes>-<hash>/train/000007.safetensors   one clip: `moments` [t, h, w, 2c] (mean
                                                       and log-variance) and `embeds` [t, d]
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import BFloat16, PyTree

from aa_jax.config import ConfigError, RunConfig, check_size
from aa_jax.data.dataset import Clip, describe, open_dataset
from aa_jax.data.encoding import CHUNK, Batch, FrameEncoder
from aa_jax.data.geometry import Size, nearest_size
from aa_jax.data.sources import PUPPETS
from aa_jax.models.image_encoder import preprocess


@dataclasses.dataclass(frozen=True)
class LatentCache:
    """The cached latents of one split.

    Attributes:
      folder: a finished cache.
      split: `train` or `test`.
      embeds: whether the cached image embeddings hold too: not where the image encoder trains, or
        where the model reads its hidden states.
    """

    folder: Path
    split: str
    embeds: bool

    def read(
        self, clip: int, frames: Sequence[int]
    ) -> tuple[BFloat16[np.ndarray, "t h w c2"], BFloat16[np.ndarray, "t d"]]:
        """Moments and image embeddings of frames of a clip."""
        from safetensors import safe_open

        with safe_open(_clip_file(self.folder, self.split, clip), framework="numpy") as file:
            moments, embeds = file.get_slice("moments"), file.get_slice("embeds")
            rows = [slice(int(frame), int(frame) + 1) for frame in frames]
            return (
                np.concatenate([moments[row] for row in rows]),
                np.concatenate([embeds[row] for row in rows]),
            )


def find(config: RunConfig, params: Mapping[str, PyTree]) -> LatentCache | None:
    """The cache a run can train from, as `config.data.latents` says; None: encode while training.

    Args:
      params: the parameters of VAE and image encoder that the run starts from, before any cast.

    Raises:
      ConfigError: `config.data.latents` names a cache that does not fit the run.
    """
    data = config.data
    paths = candidates(config)
    if not paths:
        return None
    embeds = _keeps_embeds(config)
    wanted = {
        "vae": fingerprint(params["vae"]),
        "sizes": [list(size) for size in data.sizes],
        "dataset": describe(Path(data.source))["fingerprint"],
    }
    if embeds and "image_encoder" in params:  # else no part of the model
        wanted["image_encoder"] = fingerprint(params["image_encoder"])
    for path in paths:
        found = _read_description(path)
        differing = [name for name, value in wanted.items() if found.get(name) != value]
        if not differing:
            return LatentCache(path.parent, "train", embeds)
        if data.latents != "auto":
            raise ConfigError(
                f"data.latents: {path.parent} was made with other {', '.join(differing)}; run "
                "prepare.py --cache-latents with this run's weights and sizes"
            )
    return None


def candidates(config: RunConfig) -> Sequence[Path]:
    """Descriptions of the caches that may fit a run; none where it has to encode.

    Raises:
      ConfigError: `config.data.latents` names a cache, but the VAE trains.
    """
    data, train = config.data, config.train
    if data.latents == "none" or train.task != "animate" or data.source == PUPPETS:
        return []
    automatic = data.latents == "auto"
    if "vae" not in train.trainable:
        if automatic:
            return sorted((Path(data.source) / "latents").glob("*/latents.json"))
        return [Path(data.latents) / "latents.json"]
    if automatic:
        return []
    raise ConfigError("data.latents: the VAE trains in this run, so its latents cannot be kept")


def encoding_ahead(
    config: RunConfig, params: Mapping[str, PyTree]
) -> Callable[[Batch], Batch] | None:
    """What turns batches of pictures into those of a cache, where latents are to be rounded.

    Returns:
      None where the training step itself encodes.

    Raises:
      ConfigError: the VAE trains, so the step has to encode, and cannot round.
    """
    train = config.train
    if config.data.latents_dtype == "float32" or train.task != "animate":
        return None
    if "vae" in train.trainable:
        raise ConfigError("data.latents_dtype: must be 'float32' where the VAE trains")
    encoder = FrameEncoder(config.model, params, train.dtype)
    embeds = "image_encoder" in params and _keeps_embeds(config)
    return functools.partial(encoder.encode_batch, embeds=embeds)


def _keeps_embeds(config: RunConfig) -> bool:
    """Whether what the image encoder gives is kept: one embedding that does not change."""
    return "image_encoder" not in config.train.trainable and not config.model.reads_patches


def fingerprint(params: PyTree) -> str:
    """A name for the numbers of a network."""
    from flax import traverse_util

    digest = hashlib.sha256()
    for name, array in sorted(traverse_util.flatten_dict(params, sep=".").items()):
        digest.update(name.encode() + np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()[:16]


def write(source: Path, weights_dir: str | Path, sizes: Sequence[Size], *, dtype: str) -> Path:
    """Encodes every frame of a dataset; goes on where a killed run stopped.

    Args:
      source: the output folder of `prepare.py`.
      weights_dir: weights directory with a VAE and an image encoder.
      sizes: (width, height) that clips are cropped to; of several, that of nearest aspect ratio.
      dtype: of the computation, float32 or bfloat16; results are bfloat16.

    Returns:
      The folder of the cache.

    Raises:
      DatasetError: `source` is no finished dataset.
      WeightsError: the weights cannot be loaded.
      ConfigError: a size is no multiple of the VAE factor.
    """
    from tqdm import tqdm

    from aa_jax import files, weights

    dataset = describe(source)
    config, params = weights.load(weights_dir, networks=("vae", "image_encoder"))
    for width, height in sizes:
        check_size(width, height, config.model, where="--cache-latents")
    description = {
        "vae": fingerprint(params["vae"]),
        "image_encoder": fingerprint(params["image_encoder"]),
        "sizes": [list(size) for size in sizes],
        "dtype": dtype,
        "dataset": dataset["fingerprint"],
    }
    name = "_".join(f"{width}x{height}" for width, height in sizes)
    key = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:8]
    folder = source / "latents" / f"{name}-{key}"
    encoder = FrameEncoder(config.model, params, dtype)
    image_size = config.model.image_encoder.image_size
    for split in dataset["splits"]:
        clips = open_dataset(source, split)
        for leftover in (folder / split).glob(".*"):  # of a killed run
            leftover.unlink()
        for index in tqdm(range(len(clips)), desc=f"encoding {split}", unit="clip"):
            path = _clip_file(folder, split, index)
            if path.exists():
                continue
            clip = clips.clip(index)
            size = sizes[nearest_size(clip.size, sizes)]
            files.save_arrays(path, _encode_clip(clip, size, encoder, image_size))
    files.write_text(folder / "latents.json", json.dumps(description, indent=2) + "\n")
    return folder


def _encode_clip(
    clip: Clip, size: Size, encoder: FrameEncoder, image_size: int
) -> dict[str, np.ndarray]:
    """What a cache holds of one clip; pictures pass through memory a few at a time."""
    moments, embeds = [], []
    for start in range(0, clip.length, 4 * CHUNK):
        pictures = clip.pictures(range(start, min(start + 4 * CHUNK, clip.length)), size)
        pixels = np.stack([preprocess(picture, image_size) for picture in pictures])
        moments.append(encoder.moments(pictures))
        embeds.append(encoder.embeds(pixels))
    return {"moments": np.concatenate(moments), "embeds": np.concatenate(embeds)}


def _read_description(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"data.latents: {path.parent} holds no finished cache of prepare.py --cache-latents"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _clip_file(folder: Path, split: str, clip: int) -> Path:
    return folder / split / f"{clip:06d}.safetensors"
