"""Training batches by index: batch `step` is the same whoever asks, and whenever.

Example `i` of step `s` has the global id `s * batch_size + i`; everything drawn for it (clip,
frames) follows from that id and the data seed. A run therefore resumes by asking for the next
step, and any number of workers or hosts sees the same examples.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import grain
import numpy as np

from aa_jax.config import DataConfig, ModelConfig, SkeletonConfig
from aa_jax.data import puppets
from aa_jax.models import image_encoder
from aa_jax.pose import drawing

CLIP_FRAMES = 64
"""Frames of a puppet clip that training draws from; the motion itself is endless."""

Example = dict[str, np.ndarray]


def draw_frames(
    rng: np.random.Generator, config: DataConfig, clip_frames: int
) -> tuple[int, np.ndarray]:
    """Draws a reference frame and target frames of one clip.

    A single target (stage 1) lies at least `min_frame_gap` from the reference, or as far as a short
    clip allows; a run of targets (stage 2) may contain its reference.

    Args:
      clip_frames: length of the clip.

    Returns:
      The reference's index and the targets' indices [t].
    """
    span = (config.frames - 1) * config.frame_stride + 1
    first = int(rng.integers(max(clip_frames - span, 0) + 1))
    targets = np.minimum(first + np.arange(config.frames) * config.frame_stride, clip_frames - 1)
    candidates = np.arange(clip_frames)
    if config.frames == 1:
        distance = np.abs(candidates - first)
        candidates = candidates[distance >= min(config.min_frame_gap, distance.max())]
    return int(rng.choice(candidates)), targets


def make_example(
    example_id: int, clips: puppets.PuppetClips, config: DataConfig, skeleton: SkeletonConfig,
    image_size: int,
) -> Example:  # fmt: skip
    """One training example.

    Returns:
      `example_id` [], `reference` uint8 [h, w, 3], `clip_pixels` float32 [s, s, 3] (the reference
      as the image encoder takes it), `target` uint8 [t, h, w, 3], `skeleton` uint8 [t, h, w, 3].
    """
    entropy = [zlib.crc32(b"examples"), config.seed, int(example_id)]
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    clip = clips[int(rng.integers(len(clips)))]
    reference_frame, target_frames = draw_frames(rng, config, CLIP_FRAMES)
    size = {"width": config.width, "height": config.height}
    pictures, _ = clip.render([reference_frame, *target_frames], **size)
    keypoints = clip.keypoints(target_frames, **size)
    return {
        "example_id": np.uint32(example_id),
        "reference": pictures[0],
        "clip_pixels": image_encoder.preprocess(pictures[0], image_size),
        "target": pictures[1:],
        "skeleton": drawing.draw_keypoints(keypoints, style=skeleton, **size),
    }


def batches(
    config: DataConfig,
    skeleton: SkeletonConfig,
    model: ModelConfig,
    *,
    batch_size: int,
    first_step: int,
    last_step: int,
) -> Iterator[Example]:
    """Batches of the steps `first_step` to `last_step` (exclusive), each entry with axis `b` first.

    Rendering runs ahead of training: in threads, or in `config.num_workers` processes.
    """
    clips = puppets.PuppetClips(split="train", seed=config.seed, clips=config.clips)
    dataset = (
        grain.MapDataset.range(first_step * batch_size, last_step * batch_size)
        .map(lambda i: make_example(i, clips, config, skeleton, model.image_encoder.image_size))
        .batch(batch_size)
    )
    threads = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    iterable = dataset.to_iter_dataset(read_options=threads)
    if config.num_workers:
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=config.num_workers)
        )
    return iter(iterable)
