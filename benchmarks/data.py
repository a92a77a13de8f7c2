"""How fast training examples are made, and how much of a training step waits for them.

    python benchmarks/data.py
    python benchmarks/data.py --size 256 --clips 16 --frames 120 --json data.json
    python benchmarks/data.py --steps 20 --config configs/puppets_stage1.py

Videos of puppets are written, prepared in both storages, and read: whole by plain PyAV, and as
examples by the loader, stage 1 (a pair of frames) and stage 2 (a clip of 24 and its reference). The
examples' rates include cropping, skeletons and the image encoder's picture. With --steps, a
config's training step runs on cached latents, and the share of its time spent waiting for data is
measured; the first step, which compiles, is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

FPS = 24
STAGES = {"stage 1": 1, "stage 2": 24}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, default=256, help="side of videos and examples, in pixels")
    add("--clips", type=int, default=8, help="videos")
    add("--frames", type=int, default=96, help="frames of each")
    add("--seconds", type=float, default=10.0, help="time per measurement")
    add("--workers", type=int, nargs="+", default=[0, os.cpu_count() or 1], help="processes")
    add("--steps", type=int, default=0, help="training steps with cached latents; 0: none")
    add("--config", default="configs/puppets_stage1.py", help="config of those steps")
    add("--json", type=Path, help="where to write the figures")
    flags = parser.parse_args(argv)
    from absl import flags as absl_flags

    absl_flags.FLAGS.mark_as_parsed()  # grain reads them
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), flags)
    if flags.json:
        flags.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure(folder: Path, flags: argparse.Namespace) -> dict:
    """All figures, printed as they come."""
    figures: dict = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "videos": {"size": flags.size, "clips": flags.clips, "frames": flags.frames},
    }
    write_videos(folder, flags)
    rates = figures["rates"] = {"plain PyAV": plain_rate(folder / "videos", flags.seconds)}
    show("plain PyAV, whole videos", rates["plain PyAV"])
    for storage in ("jpeg", "mp4"):
        start = time.perf_counter()
        prepare(folder, folder / storage, storage, flags.size)
        figures[f"preparing as {storage}, frames/s"] = (
            flags.clips * flags.frames / (time.perf_counter() - start)
        )
        size = sum(f.stat().st_size for f in (folder / storage / "dataset").rglob("*.array*"))
        figures[f"{storage}, bytes per frame"] = size / (flags.clips * flags.frames)
        for stage, frames in STAGES.items():
            for workers in flags.workers:
                name = f"{storage}, {stage}, {workers} processes"
                rates[name] = loader_rate(folder / storage, frames, workers, flags)
                show(name, rates[name])
    if flags.steps:
        figures["waiting"] = waiting_share(folder / "jpeg", flags)
        print("waiting for data, of a step:", json.dumps(figures["waiting"]))
    return figures


def show(name: str, rate: dict[str, float]) -> None:
    print(f"{name:<34} {rate['clips/s']:>9.1f} clips/s {rate['frames/s']:>9.1f} frames/s")


def write_videos(folder: Path, flags: argparse.Namespace) -> None:
    from aa_jax.media.video import write_video
    from aa_jax.puppets import clips as puppets

    size = {"width": flags.size, "height": flags.size}
    for index in range(flags.clips):
        clip = puppets.make_clip("train", 0, index)
        frames = (clip.render([t], **size)[0][0] for t in range(flags.frames))
        path = folder / "videos" / f"{index:03d}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, frames, FPS)
        clip.keypoints(range(flags.frames), **size).save(folder / "poses" / f"{index:03d}.npz")


def prepare(folder: Path, output: Path, storage: str, size: int) -> None:
    from aa_jax.data.preparation import cli

    arguments = ["--videos", folder / "videos", "--keypoints-from", folder / "poses"]
    arguments += ["--output", output, "--storage", storage, "--short-side", size]
    if cli.main(list(map(str, arguments))):
        raise SystemExit(1)


def plain_rate(videos: Path, seconds: float) -> dict[str, float]:
    """Videos decoded to RGB from end to end, one after the other."""
    import av

    from aa_jax.data.preparation.layouts import VIDEO_SUFFIXES
    from aa_jax.files import numbered

    clips = frames = 0
    start = time.perf_counter()
    paths = numbered(videos, VIDEO_SUFFIXES)
    while time.perf_counter() - start < seconds:
        with av.open(str(paths[clips % len(paths)])) as container:
            container.streams.video[0].thread_type = "AUTO"
            frames += sum(1 for f in container.decode(video=0) if f.to_ndarray(format="rgb24").size)
        clips += 1
    passed = time.perf_counter() - start
    return {"clips/s": clips / passed, "frames/s": frames / passed}


def loader_rate(
    dataset: Path, frames: int, workers: int, flags: argparse.Namespace
) -> dict[str, float]:
    """Examples made by the loader, from the second batch on; frames count the reference too."""
    from aa_jax.config import RunConfig, default_config, from_dict
    from aa_jax.data import loader

    config = default_config("benchmark")
    config.data.update(
        source=str(dataset),
        width=flags.size,
        height=flags.size,
        frames=frames,
        num_workers=workers,
    )
    run = from_dict(RunConfig, config.to_dict())
    batch_size = 4
    batches = loader.batches(
        run.data,
        run.skeleton,
        run.model,
        batch_size=batch_size,
        first_step=0,
        last_step=1_000_000,
    )
    with contextlib.closing(batches):
        next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < flags.seconds:
            next(batches)
            count += batch_size
        passed = time.perf_counter() - start
    return {"clips/s": count / passed, "frames/s": count * (frames + 1) / passed}


def waiting_share(dataset: Path, flags: argparse.Namespace) -> dict[str, float]:
    """Seconds of a training step on cached latents, and the part spent waiting for its batch."""
    import jax

    from aa_jax import runtime, weights
    from aa_jax.config import RunConfig, from_dict
    from aa_jax.data import latent_cache, loader
    from aa_jax.training import losses, networks, state, step

    runtime.prepare()
    config = from_dict(RunConfig, load_config(flags.config).to_dict())
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=str(dataset)))
    params = networks.initial_params(config)
    directory = dataset / "weights"
    parts = {field: getattr(config, field) for field in ("model", "schedule", "skeleton")}
    weights.save(directory, weights.WeightsConfig(**parts, sampling=config.sampling), params)
    latent_cache.write(dataset, directory, config.data.sizes, dtype=config.train.dtype)
    latents = latent_cache.find(config, params)
    trainable = {name: params.pop(name) for name in config.train.trainable}
    train_state = state.create(jax.device_put(trainable), config.train)
    frozen = jax.tree.map(lambda x: jax.numpy.asarray(x, config.train.dtype), params)
    seed = step.seed_argument(config.seed)
    train_step = jax.jit(
        step.make_train_step(losses.make_loss(config), config.train),
        donate_argnums=0,
    )
    batches = loader.batches(
        config.data,
        config.skeleton,
        config.model,
        batch_size=config.train.batch_size,
        first_step=0,
        last_step=flags.steps + 1,
        latents=latents,
    )
    train_state, _ = train_step(train_state, frozen, next(batches), seed)
    jax.block_until_ready(train_state)
    waited, start = 0.0, time.perf_counter()
    for batch, seconds in timed(batches):
        waited += seconds
        train_state, metrics = train_step(train_state, frozen, batch, seed)
        jax.block_until_ready(metrics)
    passed = time.perf_counter() - start
    return {
        "seconds per step": passed / flags.steps,
        "seconds waited per step": waited / flags.steps,
        "share": waited / passed,
    }


def timed(batches: Iterator) -> Iterator[tuple[dict, float]]:
    """Batches, each with the seconds it was waited for."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start


def load_config(path: str):
    import importlib.util

    spec = importlib.util.spec_from_file_location("benchmark_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


if __name__ == "__main__":
    sys.exit(main())
