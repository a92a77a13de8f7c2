"""The compiled training step of a run: compiled once per size of batch, before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from aa_jax.config import RunConfig
from aa_jax.training import flops, losses, state, step
from aa_jax.training.partitioning import Partitioning
from aa_jax.training.state import TrainState
from aa_jax.training.step import Metrics


def split(config: RunConfig, params: dict[str, PyTree]) -> tuple[PyTree, PyTree]:
    """Networks that learn, in float32, and those that do not, in the run's compute dtype."""
    frozen_dtype = np.dtype(jnp.dtype(config.train.dtype))
    trainable, frozen = {}, {}
    for name, tree in params.items():
        learns = name in config.train.trainable
        dtype = np.float32 if learns else frozen_dtype
        cast = jax.tree.map(lambda x, dtype=dtype: np.asarray(x).astype(dtype), tree)
        (trainable if learns else frozen)[name] = cast
    return {name: trainable[name] for name in config.train.trainable}, frozen


def abstract_state(config: RunConfig, partitioning: Partitioning, trainable: PyTree) -> TrainState:
    """Shapes, dtypes and shardings of a run's state."""
    shapes = jax.eval_shape(lambda params: state.create(params, config.train), trainable)
    return _with_shardings(shapes, partitioning.state(shapes))


def initial_state(config: RunConfig, partitioning: Partitioning, trainable: PyTree) -> TrainState:
    """The state before the first step, made where its parts lie."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(config, partitioning, trainable))
    create = jax.jit(lambda params: state.create(params, config.train), out_shardings=shardings)
    return create(partitioning.place_params(trainable))


def compiler_options() -> dict[str, str]:
    """What a CPU's compiler needs to be told so that optimization barriers are of any use.

    It would drop them before it removes common subexpressions and fuses: rematerialisation would
    compute all once again and store it, and the optimizer copy its moments.
    """
    if jax.default_backend() != "cpu":
        return {}
    return {"xla_disable_hlo_passes": "cse_barrier_expander"}


def _with_shardings(shapes: PyTree, shardings: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings,
    )


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A training step for batches of one size.

    Attributes:
      flops: of one step over all devices, recomputation included.
      model_flops: the same without recomputation.
      memory: bytes of one device, by purpose.
    """

    call: jax.stages.Compiled
    flops: float
    model_flops: float
    memory: dict[str, int]


class TrainProgram:
    """`program(state, frozen, batch) -> (state, metrics)`, with a donated state.

    Compiles at the first batch of every size; `compiled` holds what it made.
    """

    def __init__(
        self,
        config: RunConfig,
        partitioning: Partitioning,
        announce: Callable[[Compiled], None] = lambda compiled: None,
    ):
        """Compiles nothing yet.

        Args:
          announce: called with every program compiled, before its first step.
        """
        self._config, self._partitioning, self._announce = config, partitioning, announce
        self._seed = step.seed_argument(config.seed)
        self._step = step.make_train_step(
            losses.make_loss(config),
            config.train,
            place_gradients=self._place_gradients,
        )
        self.compiled: dict[Any, Compiled] = {}

    def __call__(
        self, state: TrainState, frozen: PyTree, batch: step.Batch
    ) -> tuple[TrainState, Metrics]:
        return self.compile(state, frozen, batch).call(state, frozen, batch, self._seed)

    def compile(self, state: TrainState, frozen: PyTree, batch: step.Batch) -> Compiled:
        """The program for arguments like these, which may be abstract."""
        size = tuple((name, x.shape) for name, x in sorted(batch.items()))
        if size not in self.compiled:
            traced = self.trace(state, frozen, batch)
            program = traced.lower().compile(compiler_options=compiler_options())
            counted = flops.count(traced.jaxpr)
            needed = self._without_remat(state, frozen, batch) or counted
            self.compiled[size] = Compiled(program, counted, needed, _memory(program))
            self._announce(self.compiled[size])
        return self.compiled[size]

    def _place_gradients(self, gradients: PyTree) -> PyTree:
        """As their parameters; where moments lie must not reach back into the backward pass."""
        shardings = self._partitioning.params(gradients)
        return jax.lax.with_sharding_constraint(gradients, shardings)

    def _without_remat(self, state: TrainState, frozen: PyTree, batch: step.Batch) -> float:
        """FLOPs of a step that recomputes nothing; 0 where this one is such."""
        train = self._config.train
        if train.remat == "none":
            return 0.0
        plain = dataclasses.replace(self._config, train=dataclasses.replace(train, remat="none"))
        return flops.count(
            TrainProgram(plain, self._partitioning).trace(state, frozen, batch).jaxpr
        )

    def trace(self, state: TrainState, frozen: PyTree, batch: step.Batch) -> jax.stages.Traced:
        """The step as traced for this mesh, to be lowered."""
        shardings = self._partitioning.state(state), self._partitioning.replicated
        with self._partitioning.active():
            jitted = jax.jit(self._step, donate_argnums=0, out_shardings=shardings)
            return jitted.trace(state, frozen, batch, self._seed)


def _memory(program: jax.stages.Compiled) -> dict[str, int]:
    sizes = program.memory_analysis()
    if sizes is None:
        return {}
    return {
        "arguments": sizes.argument_size_in_bytes,
        "results beside them": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        "temporary": sizes.temp_size_in_bytes,
    }
