"""Measurements of one accelerator: its rates, kernels of attention, sampling, training steps.

Each is (workload, figures of the measurements before) -> rows of a table.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import workloads
from benchmarks.workloads import GUIDANCE_SCALE, SCHEDULE, WORKLOADS, Workload

Row = dict[str, Any]


# --- clocks -------------------------------------------------------------------------------------


def seconds(call: Callable[[], Any], *, enough: float = 0.3, most: int = 50) -> float:
    """Time of one of many calls that are queued together, after one that is not counted.

    Args:
      call: returns arrays, without waiting for them.
      enough: seconds to measure for.
      most: calls to make.
    """
    import jax

    def timed(count: int) -> float:
        start = time.perf_counter()
        results = [call() for _ in range(count)]
        jax.block_until_ready(results)
        return (time.perf_counter() - start) / count

    timed(1)
    once = timed(1)
    count = max(1, min(most, int(enough / once)))
    return statistics.median(timed(count) for _ in range(3))


def out_of_memory(error: Exception) -> bool:
    """Whether an error of the runtime is a lack of memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


# --- chip ---------------------------------------------------------------------------------------


def chip(workload: Workload, _: Row) -> list[Row]:
    """Matrix rate and copy bandwidth."""
    import jax
    import jax.numpy as jnp

    small = workload is WORKLOADS["tiny"]
    side, length = (512, 2**22) if small else (8192, 2**29)
    # Random numbers: chips run faster on constant ones, which cost less power.
    x = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = jax.jit(jnp.matmul)
    flops = 2 * side**3 / seconds(lambda: product(x, x))
    y = jnp.ones(length, jnp.bfloat16)
    copy = jax.jit(jnp.negative)
    moved = 2 * y.nbytes / seconds(lambda: copy(y), most=5)
    return [{"matrix TFLOP/s": flops / 1e12, "copy GB/s": moved / 1e9}]


def _matrix_rate(figures: Row) -> float:
    return figures["chip"][0]["matrix TFLOP/s"] * 1e12


# --- attention ----------------------------------------------------------------------------------


def attention(workload: Workload, figures: Row) -> list[Row]:
    """Every kernel that runs here at the UNet's shapes."""
    from aa_jax.kernels import attention as attention_kernels

    heads, frames = workload.model.unet.num_attention_heads, workload.frames
    rows = []
    for size in workload.sizes:
        for tokens, head_dim in levels(workload, size):
            call = attention_kernels.call_for(_queries(1, tokens, 1, head_dim))
            # Own and reference keys in space; in time, all positions of a guided pair of clips.
            shapes = ((frames, tokens, 2 * tokens), (2 * tokens, frames, frames))
            for (batch, queries, keys), (name, kernel) in itertools.product(
                shapes, attention_kernels.KERNELS.items()
            ):
                if name != "blocked" and not kernel.obstacle(call):
                    row = {"size": size, "queries": queries, "keys": keys}
                    row |= {"head dim": head_dim, "kernel": name}
                    row |= _measure_kernel(kernel.attend, batch, queries, keys, heads, head_dim)
                    rows.append(row)
    return rows


def levels(workload: Workload, size: int) -> list[tuple[int, int]]:
    """(tokens, head dimension) of the UNet's attentions over square pictures, without repeats."""
    unet = workload.model.unet
    side = size // workload.model.autoencoder.downscale_factor
    found = []
    for i, (width, attends) in enumerate(
        zip(unet.block_out_channels, unet.attention_levels, strict=True)
    ):
        if attends:
            found.append(((side // 2**i) ** 2, width // unet.num_attention_heads))
    last = len(unet.block_out_channels) - 1
    middle = ((side // 2**last) ** 2, unet.block_out_channels[-1] // unet.num_attention_heads)
    return list(dict.fromkeys([*found, middle]))


def _queries(batch: int, tokens: int, heads: int, head_dim: int, seed: int = 0):
    import jax
    import jax.numpy as jnp

    shape = (batch, tokens, heads, head_dim)
    return jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)


def _measure_kernel(
    attend: Callable[..., Any], batch: int, queries: int, keys: int, heads: int, head_dim: int
) -> Row:
    """Times of a kernel, and its largest errors relative to the largest number of the truth."""
    import jax
    import jax.numpy as jnp

    from aa_jax.kernels import plain_attention

    # No more samples than give scores of 2 GiB, which plain attention makes.
    batch = max(1, min(batch, 2**31 // (4 * heads * queries * keys)))
    draw = functools.partial(_queries, batch, heads=heads, head_dim=head_dim)
    q, cotangent = draw(queries), draw(queries, seed=1)
    k, v = draw(keys, seed=2), draw(keys, seed=3)

    @functools.partial(jax.jit, static_argnums=0)
    def both(attend: Callable[..., Any], q, k, v, cotangent):
        out, pullback = jax.vjp(lambda *inputs: attend(*inputs, None), q, k, v)
        return out, *pullback(cotangent)

    forward = jax.jit(lambda q, k, v: attend(q, k, v, None))
    row = {"batch": batch}
    try:
        row["forward ms"] = 1e3 * seconds(lambda: forward(q, k, v))
        row["both ms"] = 1e3 * seconds(lambda: both(attend, q, k, v, cotangent))
        results = both(attend, q[:1], k[:1], v[:1], cotangent[:1])
        with jax.default_matmul_precision("highest"):
            exact = [x[:1].astype(jnp.float32) for x in (q, k, v, cotangent)]
            truths = both(plain_attention.xla, *exact)
    except jax.errors.JaxRuntimeError as error:
        if not out_of_memory(error):
            raise
        return row | {"error": "out of memory"}
    errors = [
        float(jnp.abs(x.astype(jnp.float32) - y).max() / jnp.abs(y).max())
        for x, y in zip(results, truths, strict=True)
    ]
    row |= {"forward error": errors[0], "gradient error": max(errors[1:])}
    flops = 4 * batch * heads * queries * keys * head_dim
    return row | {"forward TFLOP/s": flops / row["forward ms"] / 1e9}


# --- sampling -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The denoising of one clip, with inputs on the device."""

    pipeline: Any
    params: Any
    conditions: Any
    noise: Any

    @classmethod
    def make(cls, workload: Workload) -> Sampling:
        """For the workload's video at its smallest size."""
        import jax
        import jax.numpy as jnp

        from aa_jax import weights
        from aa_jax.sampling.pipeline import Pipeline

        size, frames = workload.sizes[0], workload.video[0]
        pipeline = Pipeline(workload.model, SCHEDULE, dtype=jnp.dtype(workload.dtype))
        pictures = workloads.pictures(workload, size, frames)
        shapes = jax.eval_shape(
            lambda params: pipeline.encode(params, **pictures),
            weights.abstract_params(workload.model),
        )
        networks = ("denoising_unet", "motion_module")
        return cls(
            pipeline,
            jax.device_put(workloads.params(workload.model, networks)),
            jax.tree.map(lambda x: jax.random.normal(jax.random.key(1), x.shape, x.dtype), shapes),
            jnp.asarray(workloads.latents(workload, size, frames)),
        )

    def step(self) -> Any:
        """A jitted function of (params, conditions, latents): one guided prediction."""
        import jax
        import jax.numpy as jnp

        from aa_jax.sampling import pipeline as pipeline_lib

        def step(params: Any, conditions: Any, latents: Any) -> Any:
            scale = jnp.float32(GUIDANCE_SCALE)
            predict = pipeline_lib.predictor(self.pipeline, params, conditions, scale)
            return predict(latents, jnp.int32(500))

        return jax.jit(step)

    def whole(self, steps: int) -> Any:
        """Clean latents of the whole DDIM loop."""
        return self.pipeline.denoise(
            self.params,
            self.conditions,
            self.noise,
            steps=steps,
            guidance_scale=GUIDANCE_SCALE,
        )


def sampling(workload: Workload, figures: Row) -> list[Row]:
    """One step, and all steps, of a guided clip."""
    from aa_jax.kernels import attention as attention_kernels
    from aa_jax.training import flops

    sample = Sampling.make(workload)
    arguments = sample.params, sample.conditions, sample.noise
    with attention_kernels.using("xla"):
        counted = flops.count(sample.step().trace(*arguments).jaxpr)
    compiled = sample.step().lower(*arguments).compile()
    frames, steps = workload.video
    rate = _matrix_rate(figures)

    def row(count: int, taken: float) -> Row:
        return {
            "size": workload.sizes[0],
            "frames": frames,
            "steps": count,
            "seconds": taken,
            "TFLOP": count * counted / 1e12,
            "utilisation": count * counted / taken / rate,
        }

    single = row(1, seconds(lambda: compiled(*arguments), most=5))
    return [single, row(steps, seconds(lambda: sample.whole(steps), most=1))]


# --- training -----------------------------------------------------------------------------------


def training(workload: Workload, figures: Row) -> list[Row]:
    """A step of either stage at the workload's largest size."""
    rows = []
    for stage, batch_size in zip(("stage1", "stage2"), workload.batch_sizes, strict=True):
        config = workloads.run_config(workload, stage, workload.sizes[-1])
        rows.append(_train(stage, config, batch_size, _matrix_rate(figures)))
    return rows


def _train(stage: str, config: Any, batch_size: int, rate: float) -> Row:
    """Of the largest batch that fits, halving from `batch_size`."""
    import jax

    row = {"stage": stage, "size": config.data.width, "frames": config.data.frames}
    while batch_size:
        train = dataclasses.replace(config.train, batch_size=batch_size)
        try:
            taken, counted, memory = _train_step(dataclasses.replace(config, train=train))
        except jax.errors.JaxRuntimeError as error:
            if not out_of_memory(error):
                raise
            batch_size //= 2
            continue
        return row | {
            "batch": batch_size,
            "seconds": taken,
            "TFLOP": counted / 1e12,
            "utilisation": counted / taken / rate,
            "GiB": memory / 2**30,
        }
    return row | {"error": "out of memory"}


def _train_step(config: Any) -> tuple[float, float, int]:
    """Seconds, FLOPs without recomputation, and bytes of a run's training step."""
    import jax

    from aa_jax.kernels import attention as attention_kernels
    from aa_jax.training import flops, partitioning, program

    rules = partitioning.make_partitioning(config, jax.devices()[:1])
    state, frozen, batch = workloads.placed(config, rules)
    train_step = program.TrainProgram(config, rules)
    compiled = train_step.compile(state, frozen, batch)
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        state, metrics = train_step(state, frozen, batch)
        jax.block_until_ready((state, metrics))
        taken.append(time.perf_counter() - start)
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, remat="none"))
    with attention_kernels.using("xla"):
        traced = program.TrainProgram(plain, rules).trace(state, frozen, batch)
    counted = flops.count(traced.jaxpr)
    return statistics.median(taken[1:]), counted, sum(compiled.memory.values())
