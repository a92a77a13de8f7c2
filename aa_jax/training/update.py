"""The optimizer's part of a training step: what gradients do to the state.

Clipping, optax's optimizer, averaging, and the choice between the new state and the old one where
the step is not finite. All of it but Muon's works number by number, so on a CPU large arrays are
updated block by block: a block stays in the caches from the gradient to the new parameter, where
XLA would send whole arrays through main memory a dozen times, and copy them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from aa_jax.config import TrainConfig
from aa_jax.models import attention_kernels
from aa_jax.training.state import TrainState, make_optimizer

BLOCK = 2**14
"""Most numbers of an array that are updated at once on a CPU."""

LEAST_BLOCK = 2**10
"""Arrays without a divisor from here to `BLOCK`, small ones among them, are updated whole."""


class Parts(NamedTuple):
    """What an update changes: parameters, optimizer state, averaged parameters (or none)."""

    params: PyTree
    opt_state: optax.OptState
    ema: PyTree


class Squares(NamedTuple):
    """Sums of squares of the new parameters and of their changes."""

    params: Float[Array, ""]
    updates: Float[Array, ""]


def update(
    config: TrainConfig,
    state: TrainState,
    gradients: PyTree,
    loss: Float[Array, ""],
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """The state after one optimizer step, and the norms of gradients, parameters and updates.

    A step whose loss or gradients are not finite changes nothing but the step count, which turns
    negative (`~step`); so do all steps after it.

    Args:
      config: of the run.
      state: before the step.
      gradients: of the loss, not clipped.
      loss: what they belong to.
    """
    norm = optax.tree.norm(gradients)
    sound = jnp.isfinite(loss) & jnp.isfinite(norm) & (state.step >= 0)
    rule = Rule(
        make_optimizer(config),
        clip_factor(norm, config.max_grad_norm),
        sound,
        _decay(state.step, config.ema_decay),
    )
    parts = Parts(state.params, state.opt_state, state.ema)
    in_blocks = config.optimizer == "adamw" and attention_kernels.on_one_cpu()
    new, squares = (rule.update_in_blocks if in_blocks else rule.update)(gradients, parts)
    stopped = jnp.where(state.step < 0, state.step, ~state.step)
    new_state = TrainState(step=jnp.where(sound, state.step + 1, stopped), **new._asdict())
    norms = {
        "grad_norm": norm,
        "param_norm": jnp.sqrt(squares.params),
        "update_norm": jnp.sqrt(squares.updates),
    }
    return new_state, norms


def clip_factor(norm: Float[Array, ""], limit: float) -> Float[Array, ""]:
    """What gradients of a norm are multiplied by, so that it is at most the limit.

    As part of what the optimizer does with them anyway; XLA would compute and store apart what
    optax's clipping divides.
    """
    return jnp.where(norm < limit, 1.0, limit / norm)


def _decay(step: Array, decay: float) -> Array:
    """That of averaged parameters, whose window grows with the run until `decay` is reached."""
    step = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


class Rule(NamedTuple):
    """How any parameters are updated.

    Attributes:
      optimizer: of clipped gradients.
      factor: what clipping multiplies gradients by.
      sound: False: everything stays as it is.
      ema_decay: of averaged parameters, if there are any.
    """

    optimizer: optax.GradientTransformation
    factor: Float[Array, ""]
    sound: Bool[Array, ""]
    ema_decay: Float[Array, ""]

    def update(self, gradients: PyTree, old: Parts) -> tuple[Parts, Squares]:
        """New parts for gradients of all their parameters."""
        clipped = jax.tree.map(lambda x: x * self.factor.astype(x.dtype), gradients)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, opt_state = self.optimizer.update(clipped, old.opt_state, old.params)
        params = optax.apply_updates(old.params, updates)
        new = Parts(params, opt_state, self._average(old.ema, params))
        kept = jax.tree.map(lambda new, old: jnp.where(self.sound, new, old), new, old)
        return kept, Squares(*(optax.tree.norm(x, squared=True) for x in (kept.params, updates)))

    def _average(self, ema: PyTree, params: PyTree) -> PyTree:
        if not ema:
            return ema
        decay = self.ema_decay
        return jax.tree.map(lambda ema, p: ema * decay + p * (1 - decay), ema, params)

    def update_in_blocks(self, gradients: PyTree, old: Parts) -> tuple[Parts, Squares]:
        """The same, block by block of every large array; for rules that work number by number."""
        leaves, structure = jax.tree.flatten(gradients)
        blocks = [_block(x.size) for x in leaves]
        small = [i for i, block in enumerate(blocks) if not block]
        groups = [small, *([i] for i, block in enumerate(blocks) if block)]
        results = []
        for group in groups:
            picked = [leaves[i] for i in group], _pick(old, structure, group)
            if group is small:
                results.append(self.update(*picked))
            else:
                results.append(self._update_one_in_blocks(*picked, blocks[group[0]]))
        parts, squares = zip(*results, strict=True)
        return _merge(parts, structure, groups), Squares(*map(sum, zip(*squares, strict=True)))

    def _update_one_in_blocks(
        self, gradients: list[Array], old: Parts, block: int
    ) -> tuple[Parts, Squares]:
        """Of one array, whose size is a multiple of the block's, in place where it is donated."""
        (gradient,) = gradients
        shape, size = gradient.shape, gradient.size

        def read(parts: Parts, i: Array | int) -> tuple[list[Array], Parts]:
            def part(x: Array, like: Array) -> Array:
                x = jax.lax.dynamic_slice(x, (i * block,), (block,)) if x.ndim else x
                return _of_bits(x, like)

            return [part(gradient.reshape(size), gradient)], jax.tree.map(part, parts, old)

        def write(parts: Parts, new: Parts, i: Array) -> Parts:
            def put(x: Array, new: Array) -> Array:
                # Scalars, such as the count of steps, change with the small arrays.
                return jax.lax.dynamic_update_slice(x, _bits(new), (i * block,)) if x.ndim else x

            return jax.tree.map(put, parts, new)

        def one_block(i: Array, carry: Any) -> Any:
            # A block is written one turn late, before the next one is read: so no array is still
            # to be read when it is overwritten, and none is copied.
            parts, squares, late = carry
            parts = write(parts, late, jnp.maximum(i - 1, 0))
            late, more = self.update(*read(parts, i))
            return parts, jax.tree.map(jnp.add, squares, more), late

        def flat(x: Array) -> Array:
            return _bits(x.reshape(size)) if x.shape == shape else x

        parts = jax.tree.map(flat, old)
        zero = jnp.zeros((), jnp.float32)
        count = size // block
        # The first turn writes what is there already.
        carry = parts, Squares(zero, zero), read(parts, 0)[1]
        parts, squares, late = jax.lax.fori_loop(0, count, one_block, carry)
        new = write(parts, late, count - 1)
        return jax.tree.map(
            lambda x, like: _of_bits(x, like).reshape(like.shape), new, old
        ), squares


def _bits(x: Array) -> Array:
    """bfloat16 numbers as integers: a CPU would convert a whole array to write a block of it."""
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def _of_bits(x: Array, like: Array) -> Array:
    """Undoes `_bits` for an array of the dtype of another."""
    return x if x.dtype == like.dtype else jax.lax.bitcast_convert_type(x, like.dtype)


def _block(size: int) -> int:
    """The largest block that divides an array of this size; 0 where it is updated whole."""
    if size <= BLOCK:
        return 0
    divisors = (n for n in range(BLOCK, LEAST_BLOCK - 1, -1) if size % n == 0)
    return next(divisors, 0)


# --- single arrays out of what is shaped like the parameters, and back ---------------------------


def _pick(tree: PyTree, structure: Any, group: Sequence[int]) -> PyTree:
    """Lists of some leaves in the place of every subtree that is shaped like the parameters."""

    def like_params(x: Any) -> bool:
        return jax.tree.structure(x) == structure

    def pick(x: Any) -> Any:
        if not like_params(x):
            return x
        leaves = jax.tree.leaves(x)
        return [leaves[i] for i in group]

    return jax.tree.map(pick, tree, is_leaf=like_params)


def _merge(picked: Sequence[PyTree], structure: Any, groups: Sequence[Sequence[int]]) -> PyTree:
    """Undoes `_pick` for groups that make up all leaves; what is no list is the first one's."""

    def merge(*parts: Any) -> Any:
        if not isinstance(parts[0], list):
            return parts[0]
        leaves = {
            i: x
            for group, part in zip(groups, parts, strict=True)
            for i, x in zip(group, part, strict=True)
        }
        return jax.tree.unflatten(structure, [leaves[i] for i in range(len(leaves))])

    return jax.tree.map(merge, *picked, is_leaf=lambda x: isinstance(x, list))
