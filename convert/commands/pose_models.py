"""`pose-models`: the networks with which BlazePose finds poses."""

from __future__ import annotations

import argparse
from pathlib import Path

from aa_jax.pose import blazepose_models as models

DESCRIPTION = f"""\
Fetches the networks with which `sample.py --driving` and `prepare.py` find poses where DWPose's are
not given: four .tflite files of {models.PACKAGE} ({models.LICENCE}). Its wheel, of
{models.WHEEL_MEGABYTES} MB, comes from the package index by pip, its SHA-256 is checked, and it is
read as a zip file, never installed. The first use does the same.
"""
EXAMPLES = """\
examples:
  into the user's cache, where they are found without a flag
    python -m convert pose-models
  into a folder, for a machine without a network
    python -m convert pose-models --output models
    python sample.py --driving dance.mp4 --pose_models models
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's flags."""
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the files; default: the cache"
    )
    parser.add_argument(
        "--wheel",
        type=Path,
        metavar="FILE",
        help="take them out of this wheel instead of fetching it",
    )


def run(flags: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    folder = flags.output or models.cache_folder()
    if models.is_complete(folder):
        print(f"{folder}: holds all {len(models.MODELS)} files, unharmed")
        return 0
    if flags.wheel:
        models.unpack(flags.wheel, folder)
    else:
        models.fetch(folder)
    print(f"wrote {', '.join(models.MODELS)} to {folder}")
    return 0
