"""Trains one stage of Animate Anyone.

    python train.py --config configs/puppets_stage1.py
    python train.py --config configs/puppets_stage1.py --config.train.steps=200 --workdir /tmp/run
    python train.py --config configs/stage1.py --dry_run

The work directory receives checkpoints, TensorBoard scalars, validation pictures and, at the end,
a weights directory that sample.py loads. The same command, given again, goes on from the last
checkpoint.
"""

import sys
from pathlib import Path

from absl import flags

from aa_jax import cli


def define(values):
    flags.DEFINE_string(
        "workdir", "", "Folder of the run; default runs/<config name>.", flag_values=values
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print parameter counts, FLOPs and memory of the run, and stop.",
        flag_values=values,
    )


def main(config, values):
    if values.dry_run:
        from aa_jax.training import plan

        print(plan.describe(config))
        return
    from aa_jax import runtime
    from aa_jax.training import loop

    runtime.prepare()
    loop.run(config, Path(values.workdir or f"runs/{config.name}"))


if __name__ == "__main__":
    sys.exit(cli.run(main, __doc__, define))
