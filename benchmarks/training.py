"""A training step of either stage against PyTorch: forward, backward, clipping, AdamW's update.

    python benchmarks/training.py --workload cpu
    python benchmarks/training.py --workload gpu --stages stage2 --json training.json
    python benchmarks/training.py --workload tiny --sides eager --rounds 1     # seconds

Our side is `aa_jax.training.program`, what `train.py` runs; the other is
`benchmarks/torch_reference.py`, eager and under torch.compile. Latents and image embeddings are
cached ones for both, as `prepare.py --cache-latents` leaves them.

Workloads: `tiny`; `cpu`, half of Stable Diffusion 1.5's widths at 256x256; `gpu`, Stable Diffusion
1.5 in bfloat16 at 512x512 and 768x768, recomputing layers in the backward pass. Stage 1 trains on
single frames, stage 2 on clips of 3, 8 and 24.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aa_jax.config import RunConfig

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import reporting
from benchmarks.comparison import Task

STAGES = ("stage1", "stage2")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for."""
    parser = reporting.parser(__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default: both")
    flags = reporting.parse(parser, argv)
    return reporting.run(flags, "training", make, flags.stages)


def make(side: str, name: str, stage: str, size: int, channels_last: bool) -> Task:
    """The task of a side: one training step after the other, on the same batch."""
    from benchmarks import workloads

    config = workloads.run_config(workloads.WORKLOADS[name], stage, size)
    if side == "ours":
        return _ours(config)
    return _theirs(config, channels_last, compiled=side == "compile")


def _ours(config: RunConfig) -> Task:
    from aa_jax import runtime

    runtime.prepare()
    from aa_jax.kernels import attention as attention_kernels
    from aa_jax.training import flops, partitioning, program
    from benchmarks import workloads

    rules = partitioning.make_partitioning(config)
    training = workloads.Training(config, rules)
    step = training.compiled()
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, remat="none"))
    with attention_kernels.using("xla"):  # which recomputes nothing
        made = program.TrainProgram(plain, rules)
        traced = made.trace(training.state, training.frozen, training.batch)
    return Task(step, flops.count(traced.jaxpr))


def _theirs(config: RunConfig, channels_last: bool, *, compiled: bool) -> Task:
    from aa_jax.models.autoencoder import hide_deprecations

    hide_deprecations()
    from benchmarks import torch_reference, workloads

    params = workloads.params(config.model, workloads.networks_of(config))
    model = torch_reference.Model(
        config.model,
        params,
        config.schedule,
        device=torch_reference.device(),
        channels_last=channels_last,
    )
    if compiled:
        model.compile()
    trainer = torch_reference.Trainer(model, config.train)
    batch = workloads.batch(config)
    draws = workloads.draws(config, batch["example_id"])
    return Task(lambda: trainer.step(batch, draws))


if __name__ == "__main__":
    sys.exit(main())
