"""Poses per second, beside MediaPipe's own, on the same frames and cores, by turns.

    python3.11 -m venv mp && mp/bin/pip install mediapipe==0.10.21
    python benchmarks/pose.py dance.mp4 --mediapipe mp/bin/python

Instead of a video a picture may be given, over which a camera then circles for 100 frames.

MediaPipe runs its holistic solution without the face mesh, following from frame to frame, in an
environment of its own (it cannot be installed beside grain). Both get decoded frames; loading is
not counted. The last lines are `detect_people` on the file, decoding included, with the most memory
it took: it must not grow with the video's length.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from aa_jax.files import write_text
from benchmarks.comparison import peak_memory

HOLISTIC = Path(__file__).with_name("mediapipe_holistic.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    flags = _parser().parse_args(argv)
    if flags.child:
        print(json.dumps(_measure_memory(flags.video, flags.repeats)))
        return 0
    if not flags.mediapipe:
        print("error: --mediapipe is missing; it names the Python to compare with", file=sys.stderr)
        return 2
    if flags.cores:
        os.sched_setaffinity(0, set(flags.cores))
    with tempfile.TemporaryDirectory() as folder:
        if flags.video.suffix in (".png", ".jpg"):
            flags.video = _circled(flags.video, Path(folder, "circled.mp4"))
        _compare(flags)
    return 0


def _compare(flags: argparse.Namespace) -> None:
    frames = _frames(flags.video, flags.frames)
    rounds = [_round(frames, flags) for _ in range(flags.rounds)]
    figures = {name: max(one[name] for one in rounds) for name in rounds[0]}
    figures["ratio"] = figures["ours"] / figures["mediapipe"]
    print(f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, the best of each:")
    print(f"mediapipe {figures['mediapipe']:.1f}, ours {figures['ours']:.1f} frames per second")
    print(f"ours are {figures['ratio']:.2f} times mediapipe's")
    for repeats in (1, 4):
        command = [sys.executable, __file__, flags.video, "--child", "--repeats", str(repeats)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        one = figures[f"video {repeats} times"] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"the file {repeats} times on end: {one['frames']} frames, "
            f"{one['fps']:.1f} per second, {one['megabytes']:.0f} MB"
        )
    if flags.json:
        write_text(flags.json, json.dumps(figures, indent=2) + "\n")


def _circled(picture: Path, video: Path) -> Path:
    """A video of a camera that shows nine tenths of a picture."""
    from aa_jax.media.pictures import read_picture
    from aa_jax.media.video import write_video

    pixels = read_picture(picture)
    sides = np.array(pixels.shape[:2]) * 9 // 10 // 2 * 2
    room = np.array(pixels.shape[:2]) - sides
    angles = np.arange(100) * 2 * np.pi / 100
    corners = (room / 2 * (1 + np.stack([np.sin(angles), np.cos(angles)], 1))).astype(int)
    views = (pixels[y : y + sides[0], x : x + sides[1]] for y, x in corners)
    write_video(video, views, 25)
    return video


def _frames(path: Path, count: int | None) -> np.ndarray:
    from aa_jax.media.video import open_video

    with open_video(path) as video:
        return np.stack([frame for frame, _ in zip(video.frames, range(count or 10**6))])  # noqa: B905


def _round(frames: np.ndarray, flags: argparse.Namespace) -> dict[str, float]:
    """Frames per second of both, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder, "frames.npy"), Path(folder, "answers.npz")
        np.save(given, frames)
        command = [flags.mediapipe, HOLISTIC, given, answers, "video"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        theirs = float(np.load(answers)["seconds"])
    from aa_jax.pose.detection import open_detector

    detector = open_detector("blazepose", pose_models=flags.pose_models)
    detector.stream()(frames[:4])  # the first calls load the networks
    stream = detector.stream()
    begin = time.perf_counter()
    people = stream(frames)
    ours = time.perf_counter() - begin
    counts = np.bincount([each.found for each in people])
    print(f"mediapipe {theirs:.2f} s, ours {ours:.2f} s; frames with 0, 1, ... people: {counts}")
    return {"mediapipe": len(frames) / theirs, "ours": len(frames) / ours}


def _measure_memory(path: Path, repeats: int) -> dict[str, float]:
    """`detect_people` on a file that shows a video several times on end."""
    from aa_jax.media.video import open_video, write_video
    from aa_jax.pose.detection import detect_people, open_detector

    with tempfile.TemporaryDirectory() as folder:
        longer = Path(folder, "longer.mp4")

        def again():
            for _ in range(repeats):
                with open_video(path) as video:
                    yield from video.frames

        pid = os.fork()  # the encoder's memory is not ours
        if pid == 0:
            write_video(longer, again(), 25)
            os._exit(0)
        os.waitpid(pid, 0)
        begin = time.perf_counter()
        detections = detect_people(longer, open_detector("blazepose"))
        seconds = time.perf_counter() - begin
    most = peak_memory() / 2**20
    return {"frames": len(detections), "fps": len(detections) / seconds, "megabytes": most}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO|PICTURE")
    add(
        "--mediapipe",
        required="--child" not in sys.argv,
        metavar="PYTHON",
        help="of an environment with mediapipe 0.10.21",
    )
    add("--frames", type=int, metavar="N", help="use the first N; default: all")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--cores", type=int, nargs="+", help="run both on these; default: all")
    add("--pose-models", metavar="DIR|WHEEL", help="BlazePose's files without a network")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    add("--repeats", type=int, default=1, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
