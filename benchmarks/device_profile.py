"""Where the time of a sampling step goes on an accelerator, by kinds of layers."""

from __future__ import annotations

import collections
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.device_parts import Row, Sampling
from benchmarks.workloads import Workload

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
