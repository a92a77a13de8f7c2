"""Deep-feature caching (DeepCache, arXiv 2312.00858): an approximation that saves most of a UNet.

What the deep layers of the denoising UNet make of neighbouring timesteps differs little. So only
every n-th step computes the whole network; the steps between take its deep features as they were
and compute the shallowest layers anew, which see the latents and the timestep as they are.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree


def scan(
    predict: Callable[..., Any],
    advance: Callable[..., PyTree],
    state: PyTree,
    rows: PyTree,
    interval: int,
) -> PyTree:
    """The denoising loop over groups of `interval` steps; compiles each kind of step once.

    A last, shorter group, where the interval does not divide the number of steps, is compiled
    apart.

    Args:
      predict: (latents, timestep, deep=..., return_deep=...) -> prediction, and the deep features
        where they are asked for, as `aa_jax.sampling.pipeline.predictor` makes it.
      advance: (state, index, row of the plan, prediction) -> the next state.
      state: before the first step, with an attribute `latents`.
      rows: step indices, and the sampler's plan; arrays [steps, ...].
      interval: steps per group, at least 2.

    Returns:
      The state after the last step.
    """

    def group(state: PyTree, rows: PyTree) -> tuple[PyTree, None]:
        (index, row), others = _at(rows, 0), _at(rows, slice(1, None))
        prediction, deep = predict(state.latents, row.timestep, return_deep=True)
        state = advance(state, index, row, prediction)

        def shallow(state: PyTree, scanned: PyTree) -> tuple[PyTree, None]:
            index, row = scanned
            prediction = predict(state.latents, row.timestep, deep=deep)
            return advance(state, index, row, prediction), None

        return jax.lax.scan(shallow, state, others)

    steps = len(jax.tree.leaves(rows)[0])
    whole = steps - steps % interval
    if whole:
        groups = jax.tree.map(lambda x: x[:whole].reshape(-1, interval, *x.shape[1:]), rows)
        state, _ = jax.lax.scan(group, state, groups)
    if whole < steps:
        state, _ = group(state, _at(rows, slice(whole, None)))
    return state


def _at(rows: PyTree, index: int | slice) -> PyTree:
    return jax.tree.map(lambda x: x[index], rows)
