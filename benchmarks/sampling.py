"""Sampling against PyTorch: a single guided step, the VAE's decoding, and a whole video.

    python benchmarks/sampling.py --workload cpu
    python benchmarks/sampling.py --workload gpu --json sampling.json
    python benchmarks/sampling.py --workload tiny --sides eager --rounds 1     # seconds

Our side is `aa_jax.sampling.pipeline`, what `sample.py` runs; the other is
`benchmarks/torch_reference.py`, eager and under torch.compile. A whole video: image encoder, VAE,
ReferenceNet and Pose Guider once, all DDIM steps with classifier-free guidance, decoding.

Workloads: `tiny`; `cpu`, half of Stable Diffusion 1.5's widths at 256x256; `gpu`, Stable Diffusion
1.5 in bfloat16 with 24 frames at 512x512 and 768x768.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import reporting
from benchmarks.comparison import Task

PIECES = ("step", "decode", "video")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for."""
    parser = reporting.parser(__doc__)
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=PIECES, help="default: all")
    flags = reporting.parse(parser, argv)
    # A video takes minutes, and torch.compile makes of it what it makes of a step.
    return reporting.run(flags, "sampling", make, flags.pieces, once=("video",))


def make(side: str, name: str, piece: str, size: int, channels_last: bool) -> Task:
    """The task of a side for one piece of sampling."""
    if side == "ours":
        return _ours(name, piece, size)
    return _theirs(name, piece, size, channels_last, compiled=side == "compile")


def _ours(name: str, piece: str, size: int) -> Task:
    from aa_jax import runtime

    runtime.prepare()
    import jax
    import numpy as np

    from aa_jax.kernels import attention as attention_kernels
    from aa_jax.models.autoencoder import Autoencoder
    from aa_jax.sampling.pipeline import Pipeline
    from aa_jax.training import flops
    from benchmarks import workloads

    workload = workloads.WORKLOADS[name]
    model, dtype = workload.model, jax.numpy.dtype(workload.dtype)
    frames, steps = workload.video if piece == "video" else (workload.frames, 1)
    pictures = workloads.pictures(workload, size, frames)
    noise = workloads.latents(workload, size, frames)
    networks = ("vae",) if piece == "decode" else None
    params = jax.device_put(workloads.params(model, networks))
    pipeline = Pipeline(model, workloads.SCHEDULE, dtype)

    def denoise(params, conditions, noise):
        return pipeline.denoise(
            params, conditions, noise, steps=steps, guidance_scale=workloads.GUIDANCE_SCALE
        )

    def decode(latents):
        return np.concatenate(list(pipeline.decode(params, latents[0])))

    def encode_denoise(params, pictures, noise):
        return denoise(params, pipeline.encode(params, **pictures), noise)

    def decode_once(params, noise):
        return Autoencoder(model.autoencoder, dtype).decode(params["vae"], noise[0])

    def counted(function, *arguments) -> float:
        with attention_kernels.using("xla"):
            traced = jax.make_jaxpr(function)(*arguments)
        jax.clear_caches()  # or that would run; programs compiled before are gone
        return flops.count(traced)

    if piece == "decode":
        return Task(lambda: decode(noise), counted(decode_once, params, noise))
    if piece == "video":
        needed = counted(encode_denoise, params, pictures, noise)
        needed += counted(decode_once, params, noise)
    conditions = jax.block_until_ready(pipeline.encode(params, **pictures))
    if piece == "video":
        compiled = jax.jit(denoise).lower(params, conditions, noise).compile()
        decode(jax.numpy.asarray(noise))

        def video():
            return decode(compiled(params, pipeline.encode(params, **pictures), noise))

        return Task(video, needed, warmed=True)
    return Task(
        lambda: denoise(params, conditions, noise).block_until_ready(),
        counted(denoise, params, conditions, noise),
    )


def _theirs(name: str, piece: str, size: int, channels_last: bool, *, compiled: bool) -> Task:
    import torch

    from aa_jax.models.autoencoder import hide_deprecations

    hide_deprecations()
    from benchmarks import torch_reference, workloads

    workload = workloads.WORKLOADS[name]
    frames, steps = workload.video if piece == "video" else (workload.frames, 1)
    pictures = workloads.pictures(workload, size, frames)
    noise = workloads.latents(workload, size, frames)
    networks = ("vae",) if piece == "decode" else None
    model = torch_reference.Model(
        workload.model,
        workloads.params(workload.model, networks),
        workloads.SCHEDULE,
        device=torch_reference.device(),
        dtype=getattr(torch, workload.dtype),
        channels_last=channels_last,
    )
    if compiled:
        model.compile()

    def denoise(conditions, steps=steps):
        scale = workloads.GUIDANCE_SCALE
        latents = model.denoise(conditions, noise, steps=steps, guidance_scale=scale)
        torch_reference.wait()
        return latents

    if piece == "decode":
        latents = torch.from_numpy(noise[0]).movedim(-1, 1).to(model.device)
        return Task(lambda: model.decode(latents))
    conditions = model.encode(**pictures)
    if piece == "video":
        model.decode(denoise(conditions, steps=1)[0])
        return Task(lambda: model.decode(denoise(model.encode(**pictures))[0]), warmed=True)
    return Task(lambda: denoise(conditions))


if __name__ == "__main__":
    sys.exit(main())
