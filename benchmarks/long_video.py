"""Long videos: time and memory against length, and how visible the seams of windows are.

    python benchmarks/long_video.py                     # both parts, about an hour on 2 CPU cores
    python benchmarks/long_video.py --part growth --json growth.json
    python benchmarks/long_video.py --lengths 24:2,60:2 --clips 1 --clip_frames 60 --steps 2

Growth: videos of 24 and 240 frames at 20 steps and of 2400 at 4, each in a process of its own, with
the bundled weights on a puppet. Programs are compiled before the clock starts. Time should grow as
the number of windows denoised, peak memory not at all. Clocks of shared machines drift over
minutes, so a window's time is compared with that of a video of one window, made by the same process
just before and after.

Seams: puppet clips of 240 frames, for which the true frames are known. The change from frame to
frame should err no more where windows meet than elsewhere: the figure is mean |Δresult − Δtruth| at
the boundaries of `uniform`'s windows, which never move, over that of all other frames, for every
method. 1 means that no seam can be seen; also printed for the method's own boundaries where they
stand still (`edge`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aa_jax.puppets.clips import PuppetClip

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SEED, REFERENCE_FRAME = 0, 40
ONE_WINDOW_STEPS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the flags ask for."""
    flags = _parser().parse_args(argv)
    if flags.worker:
        print(json.dumps(_measure(flags.weights, *_length(flags.worker), flags.method)))
        return 0
    figures: dict[str, Any] = {}
    if flags.part in ("both", "growth"):
        figures["growth"] = _growth(flags)
    if flags.part in ("both", "seams"):
        figures["seams"] = _seams(flags)
    if flags.json:
        from aa_jax.files import write_text

        write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return 0


# --- growth -------------------------------------------------------------------------------------


def _growth(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """One process per length; prints a table."""
    rows = []
    print(
        f"{'frames':>7} {'steps':>6} {'windows':>8} {'seconds':>9} {'s/window':>9} {'growth':>7} "
        f"{'peak MiB':>9}"
    )
    for length in flags.lengths.split(","):
        command = [sys.executable, __file__, "--worker", length]
        command += ["--weights", flags.weights, "--method", flags.method]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{row['frames']:7d} {row['steps']:6d} {row['windows']:8d} {row['denoising_s']:9.2f} "
            f"{row['s_per_window']:9.4f} {row['growth']:7.3f} {row['peak_mib']:9.0f}",
            flush=True,
        )
    print(
        "time per window over that of a video of one window: at most "
        f"{max(row['growth'] for row in rows):.3f}"
    )
    peaks = [row["peak_mib"] for row in rows]
    print(f"peak memory: largest over smallest {max(peaks) / min(peaks):.3f}")
    return rows


def _measure(weights_dir: str, frames: int, steps: int, method: str) -> dict[str, Any]:
    """Makes one video; called in a process of its own."""
    import tempfile

    from aa_jax import runtime
    from aa_jax.media.video import write_video

    runtime.prepare()
    model = _Model(weights_dir, method)
    size = model.windows.frames

    def make(frames: int, steps: int) -> float:
        """Seconds that denoising took."""
        marks: list[float] = []
        chunks = model.animate(
            0, frames, steps, report=lambda line: marks.append(time.perf_counter())
        )
        with tempfile.TemporaryDirectory() as folder:
            write_video(f"{folder}/video.mp4", (frame for chunk in chunks for frame in chunk), 12)
        _, denoising, decoding = marks
        return decoding - denoising

    make(size, ONE_WINDOW_STEPS)
    make(size + 1, 1)
    before, seconds, after = (
        make(*video)
        for video in ((size, ONE_WINDOW_STEPS), (frames, steps), (size, ONE_WINDOW_STEPS))
    )
    plans = [model.windows.plan(frames, step=i, steps=steps) for i in range(steps)]
    windows = sum(len(plan.frames) for plan in plans)
    return {
        "frames": frames,
        "steps": steps,
        "windows": windows,
        "denoising_s": seconds,
        "s_per_window": seconds / windows,
        "growth": seconds / windows / ((before + after) / 2 / ONE_WINDOW_STEPS),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


# --- seams --------------------------------------------------------------------------------------


def _seams(flags: argparse.Namespace) -> dict[str, Any]:
    """Compares the methods on puppet clips; prints a table and writes a contact sheet."""
    from tqdm import tqdm

    from aa_jax import runtime
    from aa_jax.sampling.windows import METHODS

    runtime.prepare()
    models = {method: _Model(flags.weights, method) for method in METHODS}
    steps = flags.steps or models["blend"].sampling.steps
    errors: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    first = {}
    for clip in tqdm(range(flags.clips), unit="clip"):
        for method, model in models.items():
            truth = model.truth(clip, flags.clip_frames)
            result = np.concatenate(list(model.animate(clip, flags.clip_frames, steps)))
            errors[method].append(change_error(result, truth))
            if clip == 0:
                first |= {"truth": truth, method: result}
    fixed, own = (
        boundaries(models[method].windows, flags.clip_frames) for method in ("uniform", "edge")
    )
    figures: dict[str, Any] = {"clips": flags.clips, "frames": flags.clip_frames, "steps": steps}
    figures["boundaries"] = np.flatnonzero(fixed).tolist()
    print(f"{'':8} {'seam / interior':>16} {'mean error':>11}")
    for method, values in errors.items():
        ratio = seam_ratio(np.stack(values), fixed)
        figures[method] = {"seam_ratio": ratio, "change_error": float(np.mean(values))}
        print(f"{method:8} {ratio:16.3f} {np.mean(values):11.5f}")
    figures["edge"]["seam_ratio_at_own_boundaries"] = seam_ratio(np.stack(errors["edge"]), own)
    print(f"edge at its own boundaries: {figures['edge']['seam_ratio_at_own_boundaries']:.3f}")
    _write_sheet(flags.sheet, first, int(np.flatnonzero(fixed)[-1]))
    return figures


def change_error(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean |Δresult − Δtruth| of uint8 frames [t, h, w, 3], in 0..1, for each of t - 1 changes."""
    change = np.diff(result.astype(np.float32), axis=0) - np.diff(truth.astype(np.float32), axis=0)
    return np.abs(change).mean((1, 2, 3)) / 255


def boundaries(windows: Any, frames: int) -> np.ndarray:
    """Which of the frames - 1 changes lead from one set of windows into another, as bools."""
    plan = windows.plan(frames, step=0, steps=2)
    inside = np.zeros((len(plan.frames), frames), bool)
    for row, window in zip(inside, plan.frames, strict=True):
        row[window] = True
    return (inside[:, 1:] != inside[:, :-1]).any(0)


def seam_ratio(errors: np.ndarray, seam: np.ndarray) -> float:
    """Mean error [clips, changes] at the seams over that elsewhere."""
    return float(errors[:, seam].mean() / errors[:, ~seam].mean())


def _write_sheet(path: Path, clips: dict[str, np.ndarray], seam: int) -> None:
    """The frames around one seam: truth in the first row, one method in each of the others."""
    from aa_jax.media.pictures import contact_sheet, write_picture

    chosen = range(max(0, seam - 4), min(len(clips["truth"]), seam + 6))
    write_picture(path, contact_sheet([[clip[t] for t in chosen] for clip in clips.values()]))
    print(f"contact sheet written to {path}: {', '.join(clips)}; frames {chosen[0]}..{chosen[-1]}")


# --- model and puppets --------------------------------------------------------------------------


class _Model:
    """A set of weights with windows of one method."""

    def __init__(self, weights_dir: str, method: str):
        import jax

        from aa_jax import weights
        from aa_jax.sampling.pipeline import Pipeline
        from aa_jax.sampling.windows import Windows

        config, params = weights.load(weights_dir)
        self.sampling, self.skeleton = config.sampling, config.skeleton
        self.size = config.sampling.width, config.sampling.height
        self.params = jax.device_put(params)
        self.pipeline = Pipeline(config.model, config.schedule)
        self.windows = Windows.for_weights(config.sampling, config.model, method=method)

    def animate(self, index: int, frames: int, steps: int, **settings: Any) -> Iterator[np.ndarray]:
        """A video of a puppet from its reference picture and keypoints, in chunks of frames."""
        from aa_jax.sampling import long_video
        from aa_jax.sampling.poses import DrawnSkeletons

        clip = self.clip(index)
        skeletons = DrawnSkeletons(
            clip.keypoints(range(frames), *self.size), *self.size, self.skeleton
        )
        return long_video.animate(
            self.pipeline,
            self.params,
            clip.render([REFERENCE_FRAME], *self.size)[0][0],
            skeletons,
            windows=self.windows,
            steps=steps,
            guidance_scale=self.sampling.guidance_scale,
            seed=SEED,
            **settings,
        )

    def truth(self, index: int, frames: int) -> np.ndarray:
        """The true frames of that video."""
        return self.clip(index).render(range(frames), *self.size)[0]

    @staticmethod
    def clip(index: int) -> PuppetClip:
        """A puppet that training never sees."""
        from aa_jax.puppets.clips import make_clip

        return make_clip("eval", SEED, index)


# --- flags --------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--part", choices=("both", "growth", "seams"), default="both")
    add("--weights", default="bundled", metavar="DIR")
    add("--method", choices=("blend", "edge", "uniform"), default="blend", help="of growth")
    add("--lengths", default="24:20,240:20,2400:4", metavar="FRAMES:STEPS,...")
    add("--clips", type=int, default=8, help="of the seams")
    add("--clip_frames", "--clip-frames", type=int, default=240)
    add("--steps", type=int, help="of the seams; default: the weights'")
    add("--sheet", type=Path, default=Path("long_video.png"), help="contact sheet of the seams")
    add("--json", type=Path, metavar="FILE")
    add("--worker", help=argparse.SUPPRESS)
    return parser


def _length(text: str) -> tuple[int, int]:
    frames, steps = text.split(":")
    return int(frames), int(steps)


if __name__ == "__main__":
    sys.exit(main())
