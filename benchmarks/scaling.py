"""What one device computes, holds and exchanges as a run grows from 1 to 64 devices.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices 1 4 16 --stages 2 --json scaling.json
    python benchmarks/scaling.py --mesh fsdp --devices 1 2 4 8

The training step of each stage is compiled for meshes of fake devices, nothing is run. The batch
grows with the devices (weak scaling), so figures per device should stay level. Networks are narrow
versions of the full ones, which compile in a minute; --full takes Stable Diffusion's own size.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints and writes the figures."""
    from aa_jax.arguments import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--devices", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="devices")
    add("--stages", type=int, nargs="+", choices=(1, 2), default=[1, 2], help="stages")
    add("--mesh", choices=("data", "fsdp"), default="data", help="the axis that grows")
    add("--full", action="store_true", help="networks of full size, at --size")
    add("--size", type=int, default=64, help="side of the pictures, in pixels")
    add("--json", type=Path, help="where to write the figures")
    flags = parser.parse_args(argv)

    import jax

    from aa_jax import files

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(flags.devices))
    rows = []
    print("stage devices  GFLOP/device  GiB/device  MiB exchanged/device")
    for stage in flags.stages:
        for devices in flags.devices:
            row = measure(stage, devices, flags)
            rows.append(row)
            print(
                f"{stage:>5} {devices:>7} {row['flops'] / 1e9:>13.3f} "
                f"{row['memory'] / 2**30:>11.4f} {row['exchanged'] / 2**20:>21.2f}",
                flush=True,
            )
    if flags.json:
        files.write_text(flags.json, json.dumps(rows, indent=2) + "\n")
    return 0


def measure(stage: int, devices: int, flags: argparse.Namespace) -> dict:
    """FLOPs, bytes held and bytes exchanged per device and step."""
    from aa_jax.training import partitioning, plan

    config = make_config(stage, devices, flags)
    made = plan.make_mesh_plan(config, partitioning.make_partitioning(config))
    return {
        "stage": stage,
        "devices": devices,
        "flops": made.flops,
        "memory": sum(made.memory.values()),
        "exchanged": sum(collective.bytes for collective in made.collectives),
        "collectives": [collective._asdict() for collective in made.collectives],
    }


def make_config(stage: int, devices: int, flags: argparse.Namespace):
    """The paper's stage with one example per device."""
    from aa_jax.config import MeshConfig, RunConfig, from_dict
    from configs import stage1, stage2

    config = (stage1 if stage == 1 else stage2).get_config()
    config.data.update(width=flags.size, height=flags.size, frames=1 if stage == 1 else 4)
    config.train.update(batch_size=devices, accumulation_steps=1)
    if not flags.full:
        config.model.unet.update(
            block_out_channels=(32, 64), attention_levels=(True, True), layers_per_block=1,
            num_attention_heads=2, cross_attention_dim=32, norm_num_groups=8,
        )  # fmt: skip
        config.model.motion_module.update(num_attention_heads=2, norm_num_groups=8)
        config.model.autoencoder.update(
            block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8
        )
        config.model.pose_guider.block_out_channels = (8, 16)
        config.model.image_encoder.update(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            image_size=32, patch_size=8, projection_dim=32,
        )  # fmt: skip
    made = from_dict(RunConfig, config.to_dict())
    return dataclasses.replace(made, mesh=MeshConfig(**{"data": 1, flags.mesh: devices}))


if __name__ == "__main__":
    sys.exit(main())
