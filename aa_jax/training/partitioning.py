"""How a run lies on a mesh of devices: every rule of parameters, moments and activations.

The mesh has three axes:

    data      groups of devices that hold the same parameters and divide the batch
    fsdp      devices that divide the batch, and hold a part of every large parameter each
    context   devices that divide the frames of every clip; where clips have one frame, the batch

What holds no parameters of its own follows from these by the compiler's propagation and the
constraints that models state by axis names (`aa_jax.kernels.sharding`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from aa_jax.config import ConfigError, MeshConfig, RunConfig
from aa_jax.training.state import TrainState

AXES = ("data", "fsdp", "context")

MIN_DIVIDED_SIZE = 2**14
"""Arrays with fewer numbers are cheaper to hold whole than to gather."""

FRAME_ENTRIES = ("target", "skeleton", "target_moments")
"""Entries of a batch [b, t, ...]; the others have no frames."""


@dataclasses.dataclass(frozen=True)
class Partitioning:
    """The rules of one run.

    Attributes:
      mesh: of axes `AXES`; an abstract one serves for everything but placing arrays.
      batch_axes: mesh axes that divide the batch.
      divide_frames: whether `context` divides the frames of clips.
      zero1: whether replicas divide moments and averaged parameters among them.
      min_size: smallest array, in numbers, that is divided.
    """

    mesh: Mesh | AbstractMesh
    batch_axes: tuple[str, ...]
    divide_frames: bool
    zero1: bool = True
    min_size: int = MIN_DIVIDED_SIZE

    # --- rules ----------------------------------------------------------------------------------

    @property
    def axis_rules(self) -> tuple[tuple[str, Any], ...]:
        """What the axis names of `aa_jax.kernels.sharding` stand for."""
        frames = (("frames", "context"),) if self.divide_frames else ()
        return (("batch", self.batch_axes), *frames)

    def param_spec(self, shape: Sequence[int]) -> P:
        """Of a parameter: its largest dimension divided over `fsdp`."""
        return self._divided(shape, ("fsdp",))

    def moment_spec(self, shape: Sequence[int]) -> P:
        """Of a moment or an averaged parameter: as the parameter's, divided among its replicas."""
        return self._divided(shape, ("fsdp", "data", "context") if self.zero1 else ("fsdp",))

    def batch_spec(self, name: str) -> P:
        """Of an entry of a batch."""
        frames = self.divide_frames and name in FRAME_ENTRIES
        return P(self.batch_axes, "context") if frames else P(self.batch_axes)

    def _divided(self, shape: Sequence[int], axes: tuple[str, ...]) -> P:
        """Divides, axis after axis, the dimension that is largest then; later ones win ties."""
        parts: list[tuple[str, ...]] = [() for _ in shape]
        rest = list(shape)
        for axis in axes if math.prod(shape) >= self.min_size else ():
            size = self.mesh.shape[axis]
            divisible = [i for i, length in enumerate(rest) if length % size == 0]
            if size == 1 or not divisible:
                continue
            i = max(divisible, key=lambda i: (rest[i], i))
            parts[i] += (axis,)
            rest[i] //= size
        spec = [part[0] if len(part) == 1 else part or None for part in parts]
        while spec and spec[-1] is None:
            spec.pop()
        return P(*spec)

    # --- shardings of whole trees ---------------------------------------------------------------

    def params(self, tree: PyTree) -> PyTree:
        """Shardings of parameter trees."""
        return jax.tree.map(lambda x: self._sharding(self.param_spec(x.shape)), tree)

    def state(self, state: TrainState) -> TrainState:
        """Shardings of a training state, which may be abstract."""
        moments = functools.partial(
            jax.tree.map, lambda x: self._sharding(self.moment_spec(x.shape))
        )
        return TrainState(
            step=self._sharding(P()),
            params=self.params(state.params),
            opt_state=moments(state.opt_state),
            ema=moments(state.ema),
        )

    def batch(self, batch: dict[str, Any]) -> dict[str, NamedSharding]:
        """Shardings of a batch."""
        return {name: self._sharding(self.batch_spec(name)) for name in batch}

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of what every device holds whole."""
        return self._sharding(P())

    def _sharding(self, spec: P) -> NamedSharding:
        return NamedSharding(self.mesh, spec)

    # --- arrays ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within it programs are traced for this mesh."""
        with jax.set_mesh(self.mesh), nn.logical_axis_rules(self.axis_rules):
            yield

    def hosts(self, batch_size: int) -> tuple[int, int]:
        """Which part of every batch this process must load: its index, and the number of parts.

        Processes whose devices share the frames of the same clips load the same part.

        Raises:
          ConfigError: devices of several processes share clips otherwise.
        """
        sharding = NamedSharding(self.mesh, P(self.batch_axes))
        rows: dict[int, set[int]] = {}
        for device, (part, *_) in sharding.devices_indices_map((batch_size,)).items():
            rows.setdefault(device.process_index, set()).update(range(batch_size)[part])
        parts = distinct_parts(rows)
        return parts.index(rows[jax.process_index()]), len(parts)

    def place_batch(self, batch: dict[str, np.ndarray], batch_size: int) -> dict[str, jax.Array]:
        """This process's part of a batch becomes its part of the global arrays."""
        return {
            name: jax.make_array_from_process_local_data(
                sharding, batch[name], (batch_size, *batch[name].shape[1:])
            )
            for name, sharding in self.batch(batch).items()
        }

    def place_params(self, tree: PyTree) -> PyTree:
        """Host arrays, the same in every process, become global ones."""
        return jax.tree.map(
            lambda x, sharding: jax.make_array_from_callback(
                x.shape, sharding, lambda index: np.asarray(x)[index]
            ),
            tree,
            self.params(tree),
        )

    def gather(self, tree: PyTree) -> PyTree:
        """A copy of a tree that this process can use alone; on one device the tree itself."""
        if self.mesh.size == 1:
            return tree
        whole = jax.jit(lambda x: x, out_shardings=self.replicated)(tree)
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), whole)


# --- from a config ------------------------------------------------------------------------------


def make_partitioning(
    config: RunConfig, devices: Sequence[jax.Device] | None = None
) -> Partitioning:
    """The partitioning of a run on its devices.

    Args:
      devices: by default all of all processes.

    Raises:
      ConfigError: there are too few devices, or the mesh does not divide the run's batch or clips.
    """
    devices = jax.devices() if devices is None else devices
    mesh = resolve(config, len(devices))
    sizes = tuple(getattr(mesh, axis) for axis in AXES)
    count = math.prod(sizes)
    if count > len(devices):
        raise ConfigError(
            f"mesh: {_text(sizes)} needs {count} devices, there are {len(devices)}; "
            "give a smaller --mesh"
        )
    if jax.process_count() > 1 and count < len(devices):
        raise ConfigError(
            f"mesh: {_text(sizes)} leaves {len(devices) - count} of {len(devices)} devices idle, "
            "which a run of several processes cannot; give a --mesh of all devices"
        )
    axis_types = (AxisType.Auto,) * len(AXES)
    made = jax.make_mesh(sizes, AXES, axis_types, devices=devices[:count])
    return partitioning_on(made, config)


def partitioning_on(mesh: Mesh | AbstractMesh, config: RunConfig) -> Partitioning:
    """The partitioning of a run on a given mesh, which may be abstract.

    Raises:
      ConfigError: the mesh does not divide the run's batch or clips.
    """
    frames, context = config.data.frames, mesh.shape["context"]
    divide_frames = frames > 1 and context > 1
    axes = AXES[:2] if frames > 1 else AXES
    sizes = tuple(mesh.shape[axis] for axis in AXES)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    micro_batch = config.train.batch_size // config.train.accumulation_steps
    if micro_batch % parts:
        raise ConfigError(
            f"train.batch_size={config.train.batch_size} in accumulation_steps="
            f"{config.train.accumulation_steps} does not divide over {parts} devices "
            f"({_text(sizes)}); give a multiple of {parts * config.train.accumulation_steps}"
        )
    if divide_frames and frames % context:
        raise ConfigError(
            f"mesh.context={context} does not divide the {frames} frames of a clip (data.frames)"
        )
    if divide_frames and micro_batch > parts:
        # Frames that devices share are laid end to end, which works without an exchange for one
        # clip only. More clips than one at once are better spread over `data`.
        raise ConfigError(
            f"mesh.context={context}: devices that share frames take one clip at a time; give "
            f"train.accumulation_steps={config.train.batch_size // parts}"
        )
    return Partitioning(mesh, axes, divide_frames, config.mesh.zero1)


def resolve(config: RunConfig, devices: int) -> MeshConfig:
    """The mesh with `data` filled in: the most devices that the batch divides over."""
    mesh, train = config.mesh, config.train
    if mesh.data:
        return mesh
    others = mesh.fsdp * mesh.context
    in_batch = mesh.fsdp if config.data.frames > 1 else others
    micro_batch = train.batch_size // train.accumulation_steps
    fitting = [n for n in range(1, devices // others + 1) if micro_batch % (n * in_batch) == 0]
    return dataclasses.replace(mesh, data=max(fitting, default=1))


def parse_mesh(text: str, mesh: MeshConfig) -> MeshConfig:
    """`data=4,fsdp=2` as changes to a mesh.

    Raises:
      ConfigError: it is written otherwise, or a number is refused.
    """
    changes = {}
    for part in filter(None, text.split(",")):
        match = re.fullmatch(rf"\s*({'|'.join(AXES)})\s*=\s*(\d+)\s*", part)
        if not match:
            raise ConfigError(f"--mesh: looks like data=4,fsdp=2,context=2, got {text!r}")
        changes[match[1]] = int(match[2])
    return dataclasses.replace(mesh, **changes)


def _text(sizes: Sequence[int]) -> str:
    return ",".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))


def distinct_parts(rows: dict[int, set[int]]) -> list[set[int]]:
    """The different sets among the rows of a batch that each process holds, in a fixed order.

    Rows need not follow one another: meshes follow the wires between devices, and hosts have
    square neighbourhoods.

    Raises:
      ConfigError: two sets overlap without being equal, or their sizes differ.
    """
    parts = sorted({tuple(sorted(held)) for held in rows.values()})
    sizes = {len(part) for part in parts}
    if len(sizes) > 1 or len(set().union(*parts)) < sum(map(len, parts)):
        raise ConfigError(
            "mesh.context: devices that share frames lie in processes that do not share all their "
            "clips; give a number that divides the devices of a process, or a multiple of it"
        )
    return [set(part) for part in parts]


# --- to print -----------------------------------------------------------------------------------


def describe(partitioning: Partitioning) -> str:
    """The mesh in one line."""
    mesh = partitioning.mesh
    return f"mesh {_text([mesh.shape[axis] for axis in AXES])}: {mesh.size} devices"


def table(
    partitioning: Partitioning, tree: PyTree, spec: Callable[[Sequence[int]], P] | None = None
) -> list[tuple[str, tuple[int, ...], P, int]]:
    """Name, shape, spec and bytes per device of every array of a parameter tree.

    Args:
      spec: the rule; by default that of parameters.
    """
    spec = spec or partitioning.param_spec
    rows = []
    for name, x in traverse_util.flatten_dict(tree, sep=".").items():
        part = NamedSharding(partitioning.mesh, spec(x.shape)).shard_shape(tuple(x.shape))
        rows.append((name, tuple(x.shape), spec(x.shape), math.prod(part) * x.dtype.itemsize))
    return rows


def format_table(rows: Sequence[tuple[str, tuple[int, ...], P, int]]) -> str:
    """A table to print, with the sum below."""
    head = ("parameter", "shape", "spec", "bytes per device")
    cells = [(name, str(shape), f"{_spec_text(spec)}", f"{n:,}") for name, shape, spec, n in rows]
    cells.append(("sum", "", "", f"{sum(row[-1] for row in rows):,}"))
    widths = [max(len(row[i]) for row in (head, *cells)) for i in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
        for a, b, c, d in (head, *cells)
    )


def _spec_text(spec: P) -> str:
    """`-,fsdp+data` for P(None, ('fsdp', 'data'))."""
    parts = ("+".join([axes] if isinstance(axes, str) else axes or ["-"]) for axes in spec)
    return ",".join(parts) or "whole"
