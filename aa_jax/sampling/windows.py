"""Which frames of a long video are denoised together, and how the windows' predictions add up.

    plan = Windows(method="blend", frames=24, overlap=4).plan(240, step=0, steps=20)
    prediction[plan.frames[i]] += plan.weights[i] * predict(latents[plan.frames[i]])   # every i

Motion modules see a bounded number of frames, so a long video is covered by overlapping windows in
every denoising step. Three methods:

- `blend` (the default): windows from the first to the last frame, weighted by triangles, and
  shifted in every step, so that no frame is always next to a seam.
- `edge`: half-overlapping windows that are made to agree after every step, as EDGE (Tseng et al.
  2023, arXiv 2211.10658), which Animate Anyone cites, joins its clips: the second half of a window
  overrules the first half of the next; the last step cross-fades the two.
- `uniform`: the context scheduler of AnimateDiff and MooreThreads/Moore-AnimateAnyone a914ef3 as it
  is used there: never shifted, all weights equal, the end of the video wrapped into its start.

Plain numpy; nothing here depends on latents.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aa_jax.config import ConfigError, ModelConfig, SamplingConfig

Method = Literal["blend", "edge", "uniform"]
METHODS: tuple[Method, ...] = ("blend", "edge", "uniform")

# Steps of the golden section, taken modulo 1, never come back near the place they just left.
_GOLDEN_SECTION = (math.sqrt(5) - 1) / 2


class Plan(NamedTuple):
    """The windows of one denoising step.

    Attributes:
      frames: [n, t] indices into the video.
      weights: [n, t] what a window's prediction contributes to each of its frames.
    """

    frames: Int[np.ndarray, "n t"]
    weights: Float[np.ndarray, "n t"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
    """How a long video is cut into windows.

    Attributes:
      method: see the module.
      frames: frames per window.
      overlap: frames that neighbouring windows share; `edge` takes half a window.
      stride: `uniform` only: windows with a distance of 1, 2, 4, ... frames, at most so many kinds.
      average: False: weights do not add up to one but to the number of visits, which is what
        Moore-AnimateAnyone does without guidance.
    """

    method: Method = "blend"
    frames: int = 24
    overlap: int = 4
    stride: int = 1
    average: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.frames:
            raise ConfigError(
                f"overlap must be from 0 to {self.frames - 1} in windows of {self.frames} frames, "
                f"got {self.overlap}"
            )

    @classmethod
    def for_weights(
        cls,
        sampling: SamplingConfig,
        model: ModelConfig,
        *,
        method: Method | None = None,
        overlap: int | None = None,
    ) -> Windows:
        """The windows a set of weights asks for, unless method or overlap say otherwise.

        Raises:
          ConfigError: the overlap is not below the windows' length.
        """
        frames, motion = sampling.window_frames, model.motion_module
        if motion.enabled:
            frames = min(frames, motion.max_positions)
        return cls(
            method=method or sampling.window_method,
            frames=frames,
            overlap=min(sampling.window_overlap, frames - 1) if overlap is None else overlap,
            stride=sampling.window_stride,
        )

    def plan(self, video_frames: int, *, step: int, steps: int) -> Plan:
        """The windows of denoising step `step` of `steps` for a video of so many frames.

        The number of windows depends on the length of the video and, by one, on the step; a video
        that fits one window is one window.
        """
        if video_frames <= self.frames:
            return _equal([list(range(video_frames))], self.average)
        if self.method == "uniform":
            # Moore-AnimateAnyone asks for step 0 in every step.
            return _equal(
                list(
                    uniform_windows(
                        video_frames, size=self.frames, stride=self.stride, overlap=self.overlap
                    )
                ),
                self.average,
            )
        if self.method == "edge":
            return self._edge(video_frames, last=step == steps - 1)
        return self._blend(video_frames, step)

    def _blend(self, video_frames: int, step: int) -> Plan:
        hop, last = self.frames - self.overlap, video_frames - self.frames
        shift = int(hop * ((step * _GOLDEN_SECTION) % 1.0))
        starts = np.unique(np.clip(np.arange(shift - hop, last + hop, hop), 0, last))
        rise = np.arange(1, self.frames + 1)
        triangle = np.minimum(rise, rise[::-1])
        return _averaged(
            starts[:, None] + np.arange(self.frames), np.tile(triangle, (len(starts), 1))
        )

    def _edge(self, video_frames: int, *, last: bool) -> Plan:
        size = self.frames
        starts = np.arange(0, video_frames - size, max(1, size // 2))
        starts = np.append(starts, video_frames - size)
        frames = starts[:, None] + np.arange(size)
        shared = np.maximum(0, starts[:-1] + size - starts[1:])[:, None]
        position = np.arange(size)
        weights = np.ones(frames.shape)
        if last:  # a linear cross-fade over what two neighbours share
            weights[1:] = np.minimum(weights[1:], (position + 1) / (shared + 1))
            weights[:-1] = np.minimum(weights[:-1], (size - position) / (shared + 1))
        else:  # the earliest window that has a frame overrules all later ones
            weights[1:] = position >= shared
        return _averaged(frames, weights)


def uniform_windows(
    video_frames: int,
    *,
    size: int,
    stride: int = 1,
    overlap: int = 4,
    step: int = 0,
    closed_loop: bool = True,
) -> Iterator[list[int]]:
    """Frame lists of Moore-AnimateAnyone's (and AnimateDiff's) `uniform` context scheduler.

    Args:
      video_frames: length of the video.
      size: frames per window.
      stride: how many frame distances 1, 2, 4, ... are used, if the video is long enough for them.
      overlap: frames shared by neighbouring windows of distance 1.
      step: shifts the windows by `ordered_halving(step)` of the video.
      closed_loop: False leaves out windows that would start in the last `overlap` frames; those
        that remain wrap around the end all the same.
    """
    if video_frames <= size:
        yield list(range(video_frames))
        return
    halving = ordered_halving(step)
    shift = round(video_frames * halving)
    for level in range(min(stride, math.ceil(math.log2(video_frames / size)) + 1)):
        distance = 2**level
        start = int(halving * distance) + shift
        stop = video_frames + shift - (0 if closed_loop else overlap)
        for first in range(start, stop, size * distance - overlap):
            yield [
                index % video_frames for index in range(first, first + size * distance, distance)
            ]


def chunks(indices: Int[np.ndarray, " t"], size: int) -> Iterator[Int[np.ndarray, " size"]]:
    """Indices in chunks of one size, so that one compiled shape serves all.

    The last chunk repeats the last index.
    """
    for start in range(0, len(indices), size):
        chunk = indices[start : start + size]
        yield np.pad(chunk, (0, size - len(chunk)), "edge")


def ordered_halving(step: int) -> float:
    """The step's 64 bits read backwards as a binary fraction: 0, 1/2, 1/4, 3/4, 1/8, 5/8, ..."""
    return int(f"{step:064b}"[::-1], 2) / 2**64


def _equal(windows: list[list[int]], average: bool) -> Plan:
    """Windows of equal weights; of a frame that a window holds twice only the last copy counts."""
    frames = np.asarray(windows, np.int32)
    weights = np.ones(frames.shape)
    for row, window in zip(weights, windows, strict=True):
        row[:] = [index not in window[i + 1 :] for i, index in enumerate(window)]
    return _averaged(frames, weights) if average else Plan(frames, weights.astype(np.float32))


def _averaged(frames: np.ndarray, weights: np.ndarray) -> Plan:
    """Scales the weights so that they sum to one for every frame."""
    total = np.bincount(frames.ravel(), weights.ravel())
    return Plan(frames.astype(np.int32), (weights / total[frames]).astype(np.float32))
