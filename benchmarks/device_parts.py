"""What one accelerator does with this package, in one call of a few minutes.

    python benchmarks/gpu.py --json gpu.json                # Stable Diffusion 1.5, a large GPU
    python benchmarks/gpu.py --parts chip attention --markdown
    python benchmarks/gpu.py --workload tiny                # any machine, within a minute

Five parts, each of which can be asked for alone:

    chip       rate of large bfloat16 matrix products, and of copies; the measure of all the others
    attention  every kernel that runs here, at every level of the UNet, with reference keys and over
               frames: forward, forward and backward, and their errors against float32
    sampling   one guided DDIM step, and a whole sampling of 20 steps without encoding and decoding
    training   a step of either stage with cached latents, at the largest batch of a power of two,
               up to 16, that fits
    profile    where the time of a sampling step goes, by kinds of layers: the three largest

Utilisation is the arithmetic of plain attention without any recomputation over the matrix rate.
Weights and inputs are random. Figures are written after every part; parts that would begin after
--minutes are left out, and named. Comparisons with PyTorch are benchmarks/sampling.py's and
training.py's.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import workloads
from benchmarks.workloads import GUIDANCE_SCALE, SCHEDULE, WORKLOADS, Workload

Row = dict[str, Any]

KINDS = {
    r"motion_modules": "motion modules",
    r"attn1": "self- and reference attention",
    r"attn2": "cross-attention",
    r"/ff": "feed-forward",
    r"norm": "norms",
    r"conv|samplers": "convolutions",
    r"attentions": "projections around transformers",
}
"""Kinds of layers by what their operations' names hold; the first that is found counts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for."""
    flags = _parser().parse_args(argv)
    from aa_jax import cli, runtime

    runtime.use_compilation_cache()
    return cli.report_errors(lambda: measure(flags))


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Runs the parts, prints their tables, writes the figures."""
    import jax

    from aa_jax import files

    started = time.monotonic()
    workload = WORKLOADS[flags.workload]
    device = jax.devices()[0]
    figures: dict[str, Any] = {
        "workload": flags.workload,
        "device": device.device_kind,
        "jax": jax.__version__,
        "left_out": [],
    }
    print(f"{flags.workload} workload on {device.device_kind}, jax {jax.__version__}")
    for name in PARTS:
        if name not in flags.parts and name != "chip":  # which the others are measured by
            continue
        if time.monotonic() - started > 60 * flags.minutes:
            figures["left_out"].append(name)
            continue
        begun = time.monotonic()
        figures[name] = PARTS[name](workload, figures)
        figures.setdefault("seconds", {})[name] = time.monotonic() - begun
        print(f"\n{name}\n\n{table(figures[name], flags.markdown)}", flush=True)
        if flags.json:
            files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    if figures["left_out"]:
        print(f"\nleft out after {flags.minutes} minutes: {', '.join(figures['left_out'])}")
    if flags.json:
        files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return figures


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

    from aa_jax.kernels import attention as attention_kernels

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
            truths = both(attention_kernels.xla, *exact)
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


# --- profile ------------------------------------------------------------------------------------


def profile(workload: Workload, _: Row) -> list[Row]:
    """The three kinds of layers that take most of a sampling step, by a trace of the device."""
    import jax

    sample = Sampling.make(workload)
    arguments = sample.params, sample.conditions, sample.noise
    # Operations replayed as a CUDA graph are recorded under the graph's name: make no graphs.
    options = {"xla_gpu_graph_min_graph_size": 2**30}
    compiled = sample.step().lower(*arguments).compile(compiler_options=options)
    jax.block_until_ready(compiled(*arguments))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(compiled(*arguments))
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
    spent = time_by_kind(_operations(data), operation_names(compiled.as_text()))
    total = sum(spent.values())
    return [
        {"layers": kind, "ms": nanoseconds / 1e6, "share": nanoseconds / total}
        for kind, nanoseconds in spent.most_common(3)
    ]


def _operations(data: Any) -> Iterable[tuple[str, float]]:
    """(instruction of the compiled program, nanoseconds) of every operation the device ran."""
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats:
                    yield stats["hlo_op"], event.duration_ns


def operation_names(program: str) -> dict[str, str]:
    """The name that tracing gave, by the name of the instruction in a compiled program's text."""
    pattern = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*metadata=\{.*?op_name="([^"]*)"', re.M)
    return dict(pattern.findall(program))


def time_by_kind(
    operations: Iterable[tuple[str, float]], names: dict[str, str]
) -> collections.Counter[str]:
    """Time of operations by the kind of layer whose they are."""
    spent: collections.Counter[str] = collections.Counter()
    for operation, nanoseconds in operations:
        name = names.get(operation, "")
        kind = next((kind for mark, kind in KINDS.items() if re.search(mark, name)), "others")
        spent[kind] += nanoseconds
    return spent


# --- command line and tables --------------------------------------------------------------------

PARTS = {
    "chip": chip,
    "attention": attention,
    "sampling": sampling,
    "training": training,
    "profile": profile,
}


def table(rows: Sequence[Row], markdown: bool) -> str:
    """Rows with the columns of all of them, in Markdown or aligned."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_text(name, row.get(name)) for name in columns] for row in rows)]
    if markdown:
        cells.insert(1, ["---"] * len(columns))
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("utilisation", "share"):
        return f"{value:.1%}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    from aa_jax.arguments import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", choices=("tiny", "gpu"), default="gpu", help="default: %(default)s")
    add("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="default: all")
    add("--minutes", type=float, default=7, help="no part begins later; default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="where to write the figures, part by part")
    add("--markdown", action="store_true", help="print tables in Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
