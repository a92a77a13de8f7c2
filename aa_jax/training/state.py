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


def make_optimizer(config: TrainConfig, *, in_place: bool = False) -> optax.GradientTransformation:
    """AdamW or Muon; of clipped gradients, see `aa_jax.training.update`.

    Args:
      config: of the run.
      in_place: AdamW for a CPU, see `scale_by_adam_in_place`; its state is the same.
    """
    rate = learning_rate_schedule(config)
    if config.optimizer == "adamw":
        scale_by_adam = scale_by_adam_in_place if in_place else optax.scale_by_adam
        return optax.chain(
            scale_by_adam(config.adam_b1, config.adam_b2, mu_dtype=config.moments_dtype),
            optax.add_decayed_weights(config.weight_decay),
            optax.scale_by_learning_rate(rate),
        )
    adamw = optax.adamw(
        rate,
        config.adam_b1,
        config.adam_b2,
        weight_decay=config.weight_decay,
        mu_dtype=config.moments_dtype,
    )
    muon = optax.chain(
        optax.contrib.scale_by_muon(
            mu_dtype=config.moments_dtype, weight_dimension_numbers=_as_matrices
        ),
        optax.stateless(_scale_as_adamw),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    # Not `optax.contrib.muon`, whose AdamW takes Nesterov momentum from Muon: its first steps are
    # 1.5, 1.2, 1.1, ... times AdamW's. The tree of states is the same.
    return optax.partition({"muon": muon, "adam": adamw}, _rules)


def _scale_as_adamw(updates: Any, params: Any = None) -> Any:
    """Orthogonal matrices at the size of AdamW's updates, so that one learning rate serves both.

    0.2 is the root mean square of these (arXiv 2502.16982).
    """
    del params
    return jax.tree.map(lambda x: x * 0.2 * max(x.size // x.shape[-1], x.shape[-1]) ** 0.5, updates)


def _rules(params: Any) -> Any:
    return jax.tree.map(lambda x: "adam" if x.ndim < 2 else "muon", params)


def scale_by_adam_in_place(b1: float, b2: float, *, mu_dtype: str) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, whose moments a CPU replaces before it reads them for the update.

    XLA's CPU backend writes one array per loop, and would work out the new moments of an update
    again from the old ones: these it has to copy first, if the new ones take their place. Behind a
    barrier new moments are read instead.
    """

    def update(
        updates: Any, state: optax.ScaleByAdamState, params: Any = None
    ) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        pairs = jax.tree.map(lambda *pair: jax.lax.optimization_barrier(pair), mu, nu)
        mu, nu = jax.tree.transpose(jax.tree.structure(mu), jax.tree.structure((0, 0)), pairs)
        count = optax.safe_increment(state.count)
        updates = _adam_directions(mu, nu, count, b1, b2)
        return updates, optax.ScaleByAdamState(count, optax.tree.cast(mu, mu_dtype), nu)

    init = optax.scale_by_adam(b1, b2, mu_dtype=mu_dtype).init
    return optax.GradientTransformation(init, update)


def adamw_updates(config: TrainConfig, params: Any, opt_state: optax.OptState) -> Any:
    """The updates of AdamW's step that led to these parameters and this state of `make_optimizer`.

    A step adds `u = -rate (a + decay p)` to parameters `p`, where `a` is Adam's direction; out of
    the new parameters `p + u` this is `-rate (a + decay (p + u)) / (1 - rate decay)`.
    """
    adam, _, schedule = opt_state
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
        rate, decay = learning_rate_schedule(config)(schedule.count - 1), config.weight_decay
        scale = -rate / (1 - rate * decay)
        mu = optax.tree.cast_like(adam.mu, adam.nu)
        directions = _adam_directions(mu, adam.nu, adam.count, config.adam_b1, config.adam_b2)
        return jax.tree.map(lambda a, p: scale * (a + decay * p), directions, params)


def _adam_directions(mu: Any, nu: Any, count: jax.Array, b1: float, b2: float) -> Any:
    """Bias-corrected means by the roots of bias-corrected squares, as in optax."""
    means, squares = (
        optax.tree.bias_correction(moments, decay, count) for moments, decay in ((mu, b1), (nu, b2))
    )
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-8), means, squares)


def _as_matrices(kernels: Any) -> Any:
    """Kernels as matrices of inputs by outputs."""
    return jax.tree.map(
        lambda x: optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), (x.ndim - 1,)),
        kernels,
    )


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up, then constant or a cosine down to a hundredth."""
    if config.lr_schedule == "cosine" and config.warmup < config.steps:
        return optax.warmup_cosine_decay_schedule(
            0.0,
            config.learning_rate,
            config.warmup,
            config.steps,
            end_value=config.learning_rate / 100,
        )
    return optax.linear_schedule(
        0.0 if config.warmup else config.learning_rate,
        config.learning_rate,
        max(config.warmup, 1),
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
