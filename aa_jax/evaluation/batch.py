"""Clips animated on all devices: short ones together, long ones window by window.

A clip that fits one window of the motion modules is animated with others of its length, divided
over the mesh's `data` (and `fsdp`), and its frames over `context`. A longer one is animated alone,
its windows divided over all devices (`aa_jax.sampling.long_video`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import jax
import numpy as np
from einops import repeat
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree, UInt8

from aa_jax import weights
from aa_jax.config import ConfigError, MeshConfig, RunConfig, SkeletonConfig
from aa_jax.sampling import long_video
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.pose_features import Skeletons
from aa_jax.sampling.windows import Windows
from aa_jax.training.partitioning import AXES, Partitioning

Chunks = Iterator[UInt8[np.ndarray, "some h w 3"]]


class HasLength(Protocol):
    """Whatever is to become a clip of so many frames."""

    length: int


@dataclasses.dataclass(frozen=True)
class Animator:
    """A model on a mesh.

    Attributes:
      pipeline: of the model.
      params: on the devices.
      partitioning: how short clips lie on the mesh.
      windows: how long ones are cut.
      batch_size: short clips that are animated together.
      skeleton: how the model wants its poses drawn.
      settings: steps, sampler, guidance and seed.
    """

    pipeline: Pipeline
    params: PyTree
    partitioning: Partitioning
    windows: Windows
    batch_size: int
    skeleton: SkeletonConfig
    settings: dict[str, Any]

    @classmethod
    def of(cls, config: RunConfig, found: weights.WeightsConfig, params: PyTree) -> Self:
        """The animator of weights, on the mesh and with the batch size of a config.

        Raises:
          ConfigError: there are too few devices for the mesh.
        """
        partitioning = on_devices(config.mesh)
        sampling = found.sampling
        parts = math.prod(partitioning.mesh.shape[axis] for axis in AXES[:2])
        size = -(-config.eval.batch_size // parts) * parts
        return cls(
            pipeline=Pipeline.of(found),
            params=partitioning.place_params(params),
            partitioning=partitioning,
            windows=Windows.for_weights(sampling, found.model),
            # Devices that share frames take one clip at a time.
            batch_size=parts if partitioning.divide_frames else size,
            skeleton=found.skeleton,
            settings={
                "steps": sampling.steps,
                "sampler": sampling.sampler,
                "guidance_scale": sampling.guidance_scale,
                "seed": config.eval.seed,
            },
        )

    def batches(self, clips: Sequence[HasLength]) -> Iterator[list[Any]]:
        """Clips in the batches in which they are animated: equally long ones, or a long one."""
        by_length: dict[int, list[Any]] = {}
        for clip in clips:
            by_length.setdefault(clip.length, []).append(clip)
        for length, same in by_length.items():
            size = self.batch_size if length <= self.windows.frames else 1
            for start in range(0, len(same), size):
                yield same[start : start + size]

    def __call__(
        self, references: Sequence[UInt8[np.ndarray, "y x 3"]], skeletons: Sequence[Skeletons]
    ) -> list[Chunks]:
        """Frames of a batch of `batches`.

        Args:
          references: a picture of every character.
          skeletons: of every clip, of the frames' size.

        Raises:
          ConfigError: the mesh does not divide the clips.
        """
        frames = len(skeletons[0])
        if frames > self.windows.frames:
            ((reference,), (poses,)) = references, skeletons
            return [self._long(reference, poses)]
        return [iter([clip]) for clip in self._together(references, skeletons)]

    def _long(self, reference: UInt8[np.ndarray, "y x 3"], skeletons: Skeletons) -> Chunks:
        return long_video.animate(
            self.pipeline,
            self.params,
            reference,
            skeletons,
            windows=self.windows,
            devices=list(self.partitioning.mesh.devices.flat),
            **self.settings,
        )

    def _together(
        self, references: Sequence[UInt8[np.ndarray, "y x 3"]], skeletons: Sequence[Skeletons]
    ) -> UInt8[np.ndarray, "b t h w 3"]:
        """A batch as one program; the last one repeats a clip, so that one program serves all."""
        count, (frames, height, width) = len(references), skeletons[0].shape[:3]
        context = self.partitioning.mesh.shape["context"]
        if frames % context:
            raise ConfigError(f"mesh.context={context} does not divide {frames} frames of a clip")
        rows = list(range(count)) + [count - 1] * (self.batch_size - count)
        poses = np.stack([skeletons[row][np.arange(frames)] for row in rows])
        noise = self.pipeline.noise(self.settings["seed"], frames, height, width)
        noise = np.asarray(repeat(noise, "... -> b ...", b=len(rows)))
        mesh = self.partitioning.mesh
        if mesh.size > 1:
            spec = P(AXES[:2], "context") if self.partitioning.divide_frames else P(AXES[:2])
            poses, noise = jax.device_put((poses, noise), NamedSharding(mesh, spec))
        with self.partitioning.active():
            made = self.pipeline.animate_batch(
                self.params, [references[row] for row in rows], poses, noise=noise, **self.settings
            )
        return made[:count]


def on_devices(mesh: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Partitioning:
    """The partitioning of clips on this machine's devices.

    Args:
      mesh: its `data` may be 0: as many groups as there are devices for.

    Raises:
      ConfigError: there are too few devices.
    """
    devices = jax.local_devices() if devices is None else devices
    data = mesh.data or max(len(devices) // (mesh.fsdp * mesh.context), 1)
    sizes = (data, mesh.fsdp, mesh.context)
    if (count := math.prod(sizes)) > len(devices):
        wanted = ",".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise ConfigError(f"mesh: {wanted} needs {count} devices, there are {len(devices)}")
    made = jax.make_mesh(sizes, AXES, (AxisType.Auto,) * 3, devices=devices[:count])
    return Partitioning(made, AXES[:2], divide_frames=mesh.context > 1)
