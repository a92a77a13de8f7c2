"""What a training step reads and writes."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from aa_jax.config import TrainConfig


class TrainState(flax.struct.PyTreeNode):
    """Everything that changes from step to step; nothing random lives here.

    Attributes:
      step: optimizer steps done, int32 [].
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
    """AdamW behind global-norm clipping."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adamw(
            learning_rate_schedule(config),
            b1=config.adam_b1,
            b2=config.adam_b2,
            weight_decay=config.weight_decay,
        ),
    )


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
