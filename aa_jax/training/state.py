"""What a training step reads and writes."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.contrib

from aa_jax.config import TrainConfig


class TrainState(flax.struct.PyTreeNode):
    """Everything that changes from step to step; nothing random lives here.

    Attributes:
      step: optimizer steps done, int32 []; ~step where the next one was not finite.
      params: trainable networks by name, float32.
      opt_state: AdamW's moments.
      ema: averaged parameters, or an empty dict where averaging is off.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    ema: Any

    @property
    def averaged(self) -> Any:
        """The parameters to sample with: averaged ones if there are any."""
        return self.ema or self.params


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW or Muon; of clipped gradients, see `aa_jax.training.update`."""
    rate = learning_rate_schedule(config)
    if config.optimizer == "adamw":
        optimizer = optax.adamw(
            rate,
            b1=config.adam_b1,
            b2=config.adam_b2,
            weight_decay=config.weight_decay,
            mu_dtype=config.moments_dtype,
        )
    else:
        optimizer = optax.contrib.muon(
            rate,
            adam_b1=config.adam_b1,
            adam_b2=config.adam_b2,
            weight_decay=config.weight_decay,
            adam_weight_decay=config.weight_decay,
            # The size of AdamW's updates, so that one learning rate serves both.
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_as_matrices,
            mu_dtype=config.moments_dtype,
        )
    return optimizer


def _as_matrices(params: Any) -> Any:
    """Kernels as matrices of inputs by outputs; None for what stays AdamW's."""

    def as_matrix(x: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        if x.ndim < 2:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), (x.ndim - 1,))

    return jax.tree.map(as_matrix, params)


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up, then constant or a cosine down to a hundredth."""
    if config.lr_schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0,
            config.learning_rate,
            config.warmup_steps,
            config.steps,
            end_value=config.learning_rate / 100,
        )
    return optax.linear_schedule(
        0.0 if config.warmup_steps else config.learning_rate,
        config.learning_rate,
        max(config.warmup_steps, 1),
    )


def create(params: Any, config: TrainConfig) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=make_optimizer(config).init(params),
        # A copy: the step donates its state, and one buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, params) if config.ema_decay else {},
    )
