"""The samplers behind one interface: a plan of steps, and how one of them changes the latents.

    sampler = Sampler("unipc", schedule)
    plan = sampler.plan(10)                                 # arrays [steps, ...]
    state = sampler.start(noise)
    for row in rows(plan):                                  # or jax.lax.scan(..., state, plan)
        state = sampler.advance(state, predict(state.latents, row.timestep), row)

Everything that depends on the number of steps is in the plan's arrays, so that one compiled step
serves any number.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import ddim, multistep

Name = Literal["ddim", "dpm_solver", "unipc"]
NAMES: tuple[Name, ...] = typing.get_args(Name)


class State(NamedTuple):
    """Between two steps.

    Attributes:
      latents: float32.
      history: what the sampler remembers of the steps before, shaped like the latents: nothing
        (`ddim`); the last clean latents (`dpm_solver`); these, and the latents' correction as far
        as it is known without the next prediction (`unipc`).
    """

    latents: Float[Array, "b ..."]
    history: tuple[Float[Array, "b ..."], ...] = ()


class DdimPlan(NamedTuple):
    """Where every step starts and arrives."""

    timestep: Int[np.ndarray, " steps"]
    previous: Int[np.ndarray, " steps"]


Plan = DdimPlan | multistep.Plan


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A sampler of one noise schedule.

    Attributes:
      name: `ddim` (`aa_jax.diffusion.ddim`), or `dpm_solver` or `unipc`
        (`aa_jax.diffusion.multistep`).
      schedule: that the model was trained with.
      eta: `ddim` only: 0 is deterministic, 1 draws as much fresh noise as DDPM.

    Raises:
      ConfigError: no such sampler, or fresh noise with one that takes none.
    """

    name: Name
    schedule: NoiseScheduleConfig
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"sampler must be one of {', '.join(NAMES)}, got {self.name!r}")
        if self.eta and self.name != "ddim":
            raise ConfigError(f"sampler {self.name} takes no fresh noise; set eta=0 or use ddim")

    def plan(self, steps: int) -> Plan:
        """What `advance` needs at every step, `timestep` among it, as arrays [steps, ...].

        Raises:
          ConfigError: the number of steps is impossible.
        """
        if self.name == "ddim":
            return DdimPlan(
                ddim.timesteps(self.schedule, steps), ddim.previous_timesteps(self.schedule, steps)
            )
        return multistep.plan(self.schedule, self.name, steps)

    def start(self, noise: Float[Array, "b ..."]) -> State:
        """The state before the first step."""
        zeros = jnp.zeros_like(noise)
        history = {"ddim": (), "dpm_solver": (zeros,), "unipc": (zeros, noise)}[self.name]
        return State(noise, history)

    def advance(
        self,
        state: State,
        prediction: Float[Array, "b ..."],
        row: Plan,
        noise: Float[Array, "b ..."] | None = None,
    ) -> State:
        """Takes one step.

        Args:
          state: before it.
          prediction: the network's, of `schedule.prediction_type`, for the state's latents.
          row: of the plan.
          noise: fresh standard normal noise; needed if eta is not zero.
        """
        if self.name == "ddim":
            latents, _ = ddim.ddim_step(
                self.schedule,
                prediction,
                state.latents,
                row.timestep,
                row.previous,
                eta=self.eta,
                noise=noise,
            )
            return State(latents)
        latents, before = state.latents, state.history[0]
        clean = multistep.clean_latents(self.schedule, row, prediction, latents)
        if self.name == "dpm_solver":
            return State(multistep.combine(row.predictor, latents, clean, before), (clean,))
        latents = state.history[1] + row.correction * clean
        known = latents, clean, before
        correction = multistep.combine(row.corrector, *known)
        return State(multistep.combine(row.predictor, *known), (clean, correction))


def rows(plan: Plan) -> Iterator[Plan]:
    """A plan's steps one by one."""
    for i in range(len(plan.timestep)):
        yield jax.tree.map(lambda x, i=i: x[i], plan)
