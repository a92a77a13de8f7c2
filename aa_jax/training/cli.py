"""Trains one stage of Animate Anyone.

    python train.py --config configs/puppets_stage1.py
    python train.py --config configs/puppets_stage1.py --config.train.steps=200 --workdir /tmp/run
    python train.py --config configs/stage1.py --dry_run
    python train.py --config configs/stage1.py --dry_run --mesh data=4
    python train.py --config configs/stage2.py --mesh data=2,context=4
    srun python train.py --config configs/stage1.py --distributed

The work directory receives checkpoints, TensorBoard scalars, validation pictures and, at the end,
a weights directory that sample.py loads. The same command, given again, goes on from the last
checkpoint; so it does after SIGTERM, which saves and ends the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from aa_jax import cli
from aa_jax.config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where training failed, 2 for a mistake in the flags."""
    return cli.run(run, __doc__, define, argv)


def define(values: flags.FlagValues) -> None:
    """Defines the flags beside `--config`."""
    flags.DEFINE_string(
        "workdir", "", "Folder of the run; default runs/<config name>.", flag_values=values
    )
    flags.DEFINE_string(
        "mesh",
        "",
        "How devices divide the work, e.g. data=4,fsdp=2,context=2; default: all the batch.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print parameter counts, FLOPs and memory of the run, and stop; with --mesh per device of "
        "that mesh, from the compiled step.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "Join a run of several processes, as Slurm, Kubernetes or a TPU pod set it up.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "coordinator",
        "",
        "With --distributed elsewhere: host:port of process 0.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_processes", 0, "With --coordinator: how many there are.", flag_values=values
    )
    flags.DEFINE_integer(
        "process_id", -1, "With --coordinator: which one this is, from 0.", flag_values=values
    )
    flags.DEFINE_integer(
        "distributed_timeout", 300, "Seconds to wait for the other processes.", flag_values=values
    )


def run(config: RunConfig, values: flags.FlagValues) -> None:
    """Does what the flags say."""
    from aa_jax.training import partitioning

    mesh = partitioning.parse_mesh(values.mesh, config.mesh)
    config = dataclasses.replace(config, mesh=mesh)
    if values.dry_run:
        from aa_jax.training import plan

        if values.mesh:
            plan.use_fake_devices(config)
        print(plan.describe(config, compiled=bool(values.mesh)))
        return
    from aa_jax import runtime
    from aa_jax.training import distributed, loop

    if values.distributed or values.coordinator:
        distributed.initialize(
            coordinator=values.coordinator,
            num_processes=values.num_processes,
            process_id=values.process_id,
            timeout=values.distributed_timeout,
        )
    runtime.prepare()
    loop.run(config, Path(values.workdir or f"runs/{config.name}"))
