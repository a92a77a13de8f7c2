"""Training batches by index: batch `step` is the same whoever asks, and whenever.

Example `i` of step `s` has the global id `s * batch_size + i`; everything drawn for it (clip,
frames) follows from that id and the data seed. A run therefore resumes by asking for the next
step, and any number of workers or hosts sees the same examples.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import grain
import numpy as np

from aa_jax.config import DataConfig, ModelConfig, SkeletonConfig
from aa_jax.data.geometry import Size, nearest_size
from aa_jax.data.latent_cache import LatentCache
from aa_jax.data.sources import Clip, Source, open_source
from aa_jax.models import image_encoder
from aa_jax.pose import drawing

Example = dict[str, np.ndarray]


def draw_frames(
    rng: np.random.Generator, config: DataConfig, clip_frames: int, fps: float = 0.0
) -> tuple[int, np.ndarray]:
    """Draws a reference frame and target frames of one clip.

    A single target (stage 1) lies at least `min_frame_gap` from the reference, or as far as a short
    clip allows; a run of targets (stage 2) may contain its reference. A clip too short for the run
    repeats its last frame.

    Args:
      clip_frames: length of the clip.
      fps: its frame rate, by which stride and gap are scaled where `config.fps` is given.

    Returns:
      The reference's index and the targets' indices [t].
    """
    pace = fps / config.fps if config.fps and fps else 1.0
    steps = np.rint(_frames(np.arange(config.frames) * (config.frame_stride * pace)))
    steps = steps.astype(np.int64)
    first = int(rng.integers(max(clip_frames - int(steps[-1]) - 1, 0) + 1))
    targets = np.minimum(first + steps, clip_frames - 1)
    candidates = np.arange(clip_frames)
    if config.frames == 1:
        distance = np.abs(candidates - first)
        gap = _frames(config.min_frame_gap * pace)
        candidates = candidates[distance >= min(gap, distance.max())]
    return int(rng.choice(candidates)), targets


def _frames(count: np.ndarray | float) -> np.ndarray | float:
    """Frames of a clip without the rounding of rates: 4.0000001 are 4, as 23.976 is 24000/1001."""
    return np.round(count, 3)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Training examples by global id.

    Attributes:
      members: the clips of every bucket of `config.sizes`.
      batch_size: of the whole run: the examples of a step share a bucket.
      image_size: side, in pixels, of what the image encoder takes.
      reads_picture: whether the reference's pixels are needed beside cached latents.
    """

    source: Source
    members: tuple[np.ndarray, ...]
    config: DataConfig
    skeleton: SkeletonConfig
    batch_size: int
    image_size: int
    latents: LatentCache | None
    reads_picture: bool = False

    def __call__(self, example_id: int) -> Example:
        """One example.

        Returns:
          `example_id` [] and `skeleton` uint8 [t, h, w, 3]; and of the pictures either `reference`
          uint8 [h, w, 3] and `target` uint8 [t, h, w, 3], or, with cached latents,
          `reference_moments` bfloat16 [h', w', 2c] and `target_moments` bfloat16 [t, h', w', 2c],
          beside `reference` where the model reads pixels;
          and of the reference as the image encoder sees it either `clip_pixels` float32 [s, s, 3],
          or, where its embeddings are cached, `image_embeds` bfloat16 [1, d].
        """
        rng = self._rng(b"examples", example_id)
        bucket = self._bucket(example_id // self.batch_size)
        members, size = self.members[bucket], self.config.sizes[bucket]
        index = int(members[int(rng.integers(len(members)))])
        clip = self.source.clip(index)
        frames = draw_frames(rng, self.config, clip.length, clip.fps)
        keypoints = clip.keypoints(frames[1], size)
        return {
            "example_id": np.uint32(example_id),
            "skeleton": drawing.draw_keypoints(keypoints, *size, style=self.skeleton),
            **(self._read if self.latents else self._see)(clip, index, frames, size),
        }

    def _see(self, clip: Clip, _: int, frames: tuple[int, np.ndarray], size: Size) -> Example:
        pictures = clip.pictures([frames[0], *frames[1]], size)
        return {
            "reference": pictures[0],
            "clip_pixels": image_encoder.preprocess(pictures[0], self.image_size),
            "target": pictures[1:],
        }

    def _read(self, clip: Clip, index: int, frames: tuple[int, np.ndarray], size: Size) -> Example:
        moments, embeds = self.latents.read(index, [frames[0], *frames[1]])
        found = {"reference_moments": moments[0], "target_moments": moments[1:]}
        if self.latents.embeds and not self.reads_picture:
            return {**found, "image_embeds": embeds[:1]}
        picture = clip.pictures(frames[:1], size)[0]
        if self.reads_picture:
            found["reference"] = picture
        if self.latents.embeds:
            return {**found, "image_embeds": embeds[:1]}
        return {**found, "clip_pixels": image_encoder.preprocess(picture, self.image_size)}

    def _bucket(self, step: int) -> int:
        """The bucket of a step's examples, as often as its share of the clips."""
        if len(self.members) == 1:
            return 0
        counts = np.array([len(members) for members in self.members])
        return int(self._rng(b"buckets", step).choice(len(counts), p=counts / counts.sum()))

    def _rng(self, stream: bytes, index: int) -> np.random.Generator:
        entropy = [zlib.crc32(stream), self.config.seed, int(index)]
        return np.random.default_rng(np.random.SeedSequence(entropy))


def make_examples(
    config: DataConfig,
    skeleton: SkeletonConfig,
    model: ModelConfig,
    *,
    batch_size: int,
    latents: LatentCache | None = None,
) -> Examples:
    """Opens the training clips of `config`.

    Raises:
      DatasetError: `config.source` is no dataset that can be trained on.
    """
    source = open_source(config)
    if len(config.sizes) == 1:
        members = (np.arange(len(source)),)
    else:
        nearest = np.array([nearest_size(size, config.sizes) for size in source.clip_sizes])
        members = tuple(np.flatnonzero(nearest == i) for i in range(len(config.sizes)))
    return Examples(
        source,
        members,
        config,
        skeleton,
        batch_size,
        model.image_encoder.image_size,
        latents,
        model.reference.reads_picture,
    )


def batches(
    config: DataConfig,
    skeleton: SkeletonConfig,
    model: ModelConfig,
    *,
    batch_size: int,
    first_step: int,
    last_step: int,
    latents: LatentCache | None = None,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[Example]:
    """Batches of the steps `first_step` to `last_step` (exclusive), each entry with axis `b` first.

    Examples are made ahead of training: in threads, or in `config.num_workers` processes.

    Args:
      batch_size: of all hosts together.
      latents: cached latents to read instead of pictures.
      host, hosts: this host and their number; host h gets the h-th part of every batch.

    Raises:
      DatasetError: `config.source` is no dataset that can be trained on.
    """
    if batch_size % hosts:
        raise ValueError(f"a batch of {batch_size} examples does not divide over {hosts} hosts")
    examples = make_examples(config, skeleton, model, batch_size=batch_size, latents=latents)
    share = batch_size // hosts

    def example(index: int) -> Example:
        step, i = divmod(int(index), share)
        return examples(step * batch_size + host * share + i)

    dataset = grain.MapDataset.range(first_step * share, last_step * share)
    threads = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    iterable = dataset.map(example).batch(share).to_iter_dataset(read_options=threads)
    if config.num_workers:
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=config.num_workers)
        )
    return iter(iterable)
