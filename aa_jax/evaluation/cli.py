"""Measures a model on characters that training never saw.

    python evaluate.py --config configs/puppets_eval.py
    python evaluate.py --config configs/puppets_eval.py --json figures.json --dump frames
    python evaluate.py --config configs/puppets_eval.py --weights runs/puppets_stage2/weights

Compares the model with the repeated reference picture, and with the same model without its motion
modules (stage 1 alone), its frames starting from independent or from shared noise.
--config.eval.seed=N takes other characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from aa_jax import cli
from aa_jax.config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where measuring failed, 2 for a mistake in the flags."""
    return cli.run(run, __doc__, define, argv)


def define(values: flags.FlagValues) -> None:
    """Defines the flags beside `--config`."""
    flags.DEFINE_string("weights", "", "Weights directory instead of the config's.", values)
    flags.DEFINE_string("json", "", "File to write the figures to.", values)
    flags.DEFINE_string(
        "dump", "", "Folder to write references, targets, results, masks to.", values
    )


def run(config: RunConfig, values: flags.FlagValues) -> None:
    """Does what the flags say."""
    from aa_jax import runtime
    from aa_jax.evaluation import measure

    runtime.prepare()
    measure.run(
        config,
        weights_dir=values.weights or config.eval.weights,
        json_file=Path(values.json) if values.json else None,
        dump=Path(values.dump) if values.dump else None,
    )
