"""The optimizer's part of a training step: what gradients do to the state.

Clipping, optax's optimizer, averaging, and the choice between the new state and the old one where
the step is not finite. On a CPU, where main memory limits all this, AdamW changes the state in
place: nothing of its size is copied or stored on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from aa_jax.config import TrainConfig
from aa_jax.kernels import target
from aa_jax.training.state import TrainState, adamw_updates, make_optimizer


class Parts(NamedTuple):
    """What an update changes: parameters, optimizer state, averaged parameters (or none)."""

    params: PyTree
    opt_state: optax.OptState
    ema: PyTree


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

    Returns:
      The new state, and `grad_norm`, `param_norm` and `update_norm`; the last two are NaN on one
      CPU where the step is not logged (`log_every`).
    """
    norm = optax.tree.norm(gradients)
    sound = jnp.isfinite(loss) & jnp.isfinite(norm) & (state.step >= 0)
    in_place = config.optimizer == "adamw" and target.on_one_cpu()
    rule = Rule(
        make_optimizer(config, in_place=in_place),
        clip_factor(norm, config.max_grad_norm),
        _decay(state.step, config.ema_decay),
    )
    old = Parts(state.params, state.opt_state, state.ema)
    if in_place:
        # Selecting would read the old state once more.
        new = jax.lax.cond(
            sound, lambda *args: rule.update(*args)[0], lambda _, old: old, gradients, old
        )
        reported = ~sound | ((state.step + 1) % config.log_every == 0)
        norms = _norms_of_updated(config, new, reported)
    else:
        new, updates = rule.update(gradients, old)
        new = jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, old)
        norms = _norms(new.params, updates)
    stopped = jnp.where(state.step < 0, state.step, ~state.step)
    new_state = TrainState(step=jnp.where(sound, state.step + 1, stopped), **new._asdict())
    return new_state, {"grad_norm": norm, **norms}


def _norms(params: PyTree, updates: PyTree) -> dict[str, Float[Array, ""]]:
    return {"param_norm": optax.tree.norm(params), "update_norm": optax.tree.norm(updates)}


def _norms_of_updated(
    config: TrainConfig, new: Parts, wanted: Bool[Array, ""]
) -> dict[str, Float[Array, ""]]:
    """Norms after AdamW's update in place, where they are wanted; else NaN.

    Before it the updates are nowhere in memory, and to store them would take a third of an update's
    time; they are worked out of what they led to.
    """

    def measure(new: Parts) -> dict[str, Float[Array, ""]]:
        return _norms(new.params, adamw_updates(config, new.params, new.opt_state))

    def skip(_: Parts) -> dict[str, Float[Array, ""]]:
        return dict.fromkeys(("param_norm", "update_norm"), jnp.float32(jnp.nan))

    return jax.lax.cond(wanted, measure, skip, new)


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
      ema_decay: of averaged parameters, if there are any.
    """

    optimizer: optax.GradientTransformation
    factor: Float[Array, ""]
    ema_decay: Float[Array, ""]

    def update(self, gradients: PyTree, old: Parts) -> tuple[Parts, PyTree]:
        """New parts, and by what the parameters changed."""
        clipped = jax.tree.map(lambda x: x * self.factor.astype(x.dtype), gradients)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, opt_state = self.optimizer.update(clipped, old.opt_state, old.params)
        params = optax.apply_updates(old.params, updates)
        return Parts(params, opt_state, self._average(old.ema, params)), updates

    def _average(self, ema: PyTree, params: PyTree) -> PyTree:
        if not ema:
            return ema
        decay = self.ema_decay
        return jax.tree.map(lambda ema, p: ema * decay + p * (1 - decay), ema, params)
