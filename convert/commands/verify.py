"""`verify`: our numbers against those of the original implementation.

A case is a folder of weights, inputs and outputs (docs/cases.md). Its weights go through the real
converters, every run that its `meta.json` lists is repeated, and every array is compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Repeats every run of a case folder (docs/cases.md) and compares every array.

Prints, per array, the largest absolute error, the largest error relative to the array's largest
entry, and whether both are within tolerance; the last line counts. Ends with 0 only if no array
falls short, none is missing and none is left unexplained.
"""
EXAMPLES = """\
examples:
  python -m convert verify cases/unet_pair
  python -m convert verify cases/*/ --atol 5e-5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines the flags of `verify`."""
    parser.add_argument("cases", nargs="+", type=Path, metavar="CASE", help="folder with meta.json")
    for name, what in (("rtol", "relative"), ("atol", "absolute")):
        parser.add_argument(
            f"--{name}",
            type=_tolerance,
            metavar="X",
            help=f"largest {what} tolerance; can only tighten each array's own",
        )
    parser.add_argument(
        "--failures", action="store_true", help="print only the arrays that fall short"
    )


def run(flags: argparse.Namespace) -> int:
    """Verifies the cases; returns 0 if every array is within tolerance, else 1."""
    import jax

    from aa_jax import runtime
    from convert.verify.cases import verify
    from convert.verify.ledger import Ledger

    runtime.prepare()
    # Every program runs a few times at most: compiling it well would cost more than it saves.
    jax.config.update("jax_disable_most_optimizations", True)
    ledger = Ledger(rtol=flags.rtol, atol=flags.atol, only_failures=flags.failures)
    with jax.default_matmul_precision("highest"):
        for folder in flags.cases:
            verify(folder, ledger)
    print(ledger.summary())
    return 0 if ledger.passed else 1


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 up, got {text}")
    return value
