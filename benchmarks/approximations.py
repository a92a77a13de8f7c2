"""How far samplers of fewer steps, presets and cached features lead away from 20 steps of DDIM.

    python benchmarks/approximations.py
    python benchmarks/approximations.py --weights runs/stage2/weights --clips 2 --json figures.json

Puppets that training never sees are animated from the same noise in every way; every way's frames
are compared with those of DDIM with 20 steps (with which it would have to agree), and with the true
frames (which it may not miss by more). The cost is that of the denoising loop in floating-point
operations, as a part of the base's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

from aa_jax import runtime, weights
from aa_jax.config import DataConfig, RunConfig
from aa_jax.data.held_out import HeldOutClips, held_out_clips
from aa_jax.files import write_text
from aa_jax.kernels import attention as attention_kernels
from aa_jax.media.pictures import resize
from aa_jax.metrics.image import psnr
from aa_jax.models.image_encoder import preprocess
from aa_jax.sampling.flags import PRESETS
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.training import flops

SEED = 0


class Way(NamedTuple):
    """Settings of the denoising loop."""

    sampler: str
    steps: int
    feature_cache_interval: int = 1


BASE = Way("ddim", 20)
WAYS = {
    "20 steps of ddim": BASE,
    "10 steps of ddim": Way("ddim", 10),
    "5 steps of ddim": Way("ddim", 5),
    "10 steps of dpm_solver": Way("dpm_solver", 10),
    **{f"--preset {name}": Way(*preset) for name, preset in PRESETS.items()},
    "20 of ddim, cache interval 2": Way("ddim", 20, 2),
    "20 of ddim, cache interval 3": Way("ddim", 20, 3),
    "--preset fast, cache interval 2": Way(*PRESETS["fast"], 2),
}


def main(argv: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(argv)
    runtime.prepare()
    figures = measure(flags.weights, clips=flags.clips, frames=flags.frames)
    if flags.json:
        write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return 0


def measure(weights_dir: str, *, clips: int, frames: int) -> dict[str, dict[str, float]]:
    """PSNR against the base's and the true frames, and cost, of every way; prints a table."""
    config, params = weights.load(weights_dir)
    params = jax.device_put(params)
    width, height = config.sampling.width, config.sampling.height
    held_out = held_out_clips(
        RunConfig(
            name="approximations",
            model=config.model,
            skeleton=config.skeleton,
            data=DataConfig(width=width, height=height),
        ),
        seed=SEED,
        characters=clips,
        frames=frames,
    )
    animate = _Animation(
        Pipeline(config.model, config.schedule),
        params,
        held_out,
        guidance_scale=config.sampling.guidance_scale,
    )
    print(f"{'':34}{'cost':>6}{'PSNR to base':>14}{'to truth':>10}")
    results: dict[str, dict[str, float]] = {}
    base, whole = animate(BASE), animate.flops(BASE)
    for name, way in WAYS.items():
        made = base if way == BASE else animate(way)
        row = results[name] = {
            **way._asdict(),
            "cost": animate.flops(way) / whole,
            "psnr_to_base": _mean_psnr(base, made),
            "psnr_to_truth": _mean_psnr(held_out.targets, made),
        }
        print(
            f"{name:34}{row['cost']:6.2f}{row['psnr_to_base']:14.2f}{row['psnr_to_truth']:10.2f}",
            flush=True,
        )
    return results


class _Animation:
    """All clips from the same conditions and noise."""

    def __init__(
        self, pipeline: Pipeline, params: Any, clips: HeldOutClips, *, guidance_scale: float
    ):
        height, width = clips.skeletons.shape[2:4]
        size = pipeline.model.image_encoder.image_size
        self.pipeline, self.params, self.guidance_scale = pipeline, params, guidance_scale
        self.conditions = pipeline.encode(
            params,
            np.stack([resize(picture, width, height) for picture in clips.references]),
            np.stack([preprocess(picture, size) for picture in clips.references]),
            clips.skeletons,
        )
        noise = pipeline.noise(SEED, clips.skeletons.shape[1], height, width)
        self.noise = np.repeat(np.asarray(noise)[None], len(clips.references), axis=0)

    def __call__(self, way: Way) -> np.ndarray:
        """Frames uint8 [n, t, h, w, 3]."""
        latents = self._denoise(self.params, way)
        flat = latents.reshape(-1, *latents.shape[2:])
        frames = np.concatenate(list(self.pipeline.decode(self.params, flat)))
        return frames.reshape(*latents.shape[:2], *frames.shape[1:])

    def flops(self, way: Way) -> float:
        """Floating-point operations of the denoising loop."""
        with attention_kernels.using("xla"):
            loop = jax.jit(lambda params: self._denoise(params, way))
            return flops.count(loop.trace(self.params).jaxpr)

    def _denoise(self, params: Any, way: Way) -> jax.Array:
        return self.pipeline.denoise(
            params,
            self.conditions,
            self.noise,
            guidance_scale=self.guidance_scale,
            **way._asdict(),
        )


def _mean_psnr(targets: np.ndarray, results: np.ndarray) -> float:
    """Mean over frames [n, t, h, w, 3]; very large where all are equal."""
    pairs = zip(*(x.reshape(-1, *x.shape[2:]) for x in (targets, results)), strict=True)
    return float(np.mean([psnr(*pair) for pair in pairs]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", default=weights.BUNDLED, metavar="DIR", help="default: the bundled weights")
    add("--clips", type=int, default=4, help="characters")
    add("--frames", type=int, default=6, help="of every clip")
    add("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
