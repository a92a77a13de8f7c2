"""Measures a model on characters that training never saw.

    python evaluate.py --config configs/puppets_eval.py
    python evaluate.py --config configs/puppets_eval.py --json figures.json --dump frames
    python evaluate.py --config configs/puppets_eval.py --weights runs/puppets_stage2/weights

Compares the model with the repeated reference picture, and with the same model without its motion
modules (stage 1 alone), its frames starting from independent or from shared noise.
--config.eval.seed=N takes other characters.
"""

import sys
from pathlib import Path

from absl import flags

from aa_jax import cli


def define(values):
    flags.DEFINE_string("weights", "", "Weights directory instead of the config's.", values)
    flags.DEFINE_string("json", "", "File to write the figures to.", values)
    flags.DEFINE_string(
        "dump", "", "Folder to write references, targets, results, masks to.", values
    )


def main(config, values):
    from aa_jax import evaluation, runtime

    runtime.prepare()
    evaluation.run(
        config,
        weights_dir=values.weights or config.eval.weights,
        json_file=Path(values.json) if values.json else None,
        dump=Path(values.dump) if values.dump else None,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, __doc__, define))
