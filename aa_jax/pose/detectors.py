"""What every pose detector is, and which one is taken.

detector = open_detector("auto")
stream = detector.stream()
everyone = [people for pictures in batches for people in stream(pictures)]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import UInt8

from aa_jax.config import ConfigError
from aa_jax.pose.people import People

Pictures = Sequence[UInt8[np.ndarray, "h w 3"]]
DetectorName = Literal["auto", "dwpose", "blazepose"]

DETECTORS: tuple[DetectorName, ...] = ("auto", "dwpose", "blazepose")
DWPOSE_VARIABLE = "AA_JAX_DWPOSE_DIR"
"""Names the folder of DWPose's files where no flag does."""


class DetectionError(ValueError):
    """Poses cannot be detected; the message names what is missing and how to get it."""


class Stream(Protocol):
    """Detection in the frames of one video, in order.

    Attributes:
      state: all that the next frames depend on; a stream that begins with it goes on as this one
        would.
    """

    state: np.ndarray

    def __call__(self, pictures: Pictures) -> list[People]:
        """Everyone in each of the next frames."""


class Detector(Protocol):
    """Finds everyone in RGB pictures.

    Attributes:
      name: for people.
      device: where it runs, `cpu` or `cuda`.
      key: names all that its answers depend on: networks and the way they are used.
    """

    name: str
    device: str
    key: str

    def __call__(self, pictures: Pictures) -> list[People]:
        """Everyone in each of some pictures, which have nothing to do with each other."""

    def stream(self, state: np.ndarray | None = None) -> Stream:
        """Detection in a video, from its first frame or from where `state` was taken."""


def open_detector(
    name: DetectorName = "auto",
    *,
    dwpose: str | Path | None = None,
    pose_models: str | Path | None = None,
    provider: str = "auto",
    threads: int = 0,
    report: Callable[[str], None] | None = None,
) -> Detector:
    """The detector asked for.

    Args:
      name: `auto`: DWPose where its files are given, else BlazePose.
      dwpose: folder of DWPose's two files; by default what AA_JAX_DWPOSE_DIR names.
      pose_models: folder or wheel of BlazePose's files; by default they are fetched.
      provider: where onnxruntime computes, for DWPose.
      threads: of the CPU; 0: as many as there are cores.
      report: takes the line that says what is fetched.

    Raises:
      ConfigError: an argument is the other detector's.
      DetectionError: its library or a file is missing, or is another one.
    """
    check_flags(name, dwpose, pose_models)
    given = dwpose or (os.environ.get(DWPOSE_VARIABLE) and not pose_models)
    if name == "dwpose" or (name == "auto" and given):
        from aa_jax.pose.dwpose_networks import DWPose, model_files

        return DWPose(*model_files(dwpose), provider=provider, threads=threads)
    from aa_jax.pose.blazepose_detector import BlazePose
    from aa_jax.pose.blazepose_models import find_models
    from aa_jax.pose.blazepose_networks import litert

    litert()  # before anything is fetched for it
    return BlazePose(find_models(pose_models, report=report), threads=threads)


def check_flags(
    name: DetectorName, dwpose: str | Path | None, pose_models: str | Path | None
) -> None:
    """Raises `ConfigError`, in one line, for one of `open_detector`'s flags without effect."""
    other = "--pose-models" if pose_models else "--detector blazepose"
    if dwpose and (pose_models or name == "blazepose"):
        raise ConfigError(f"--dwpose has no effect with {other}; leave one out")
    if pose_models and name == "dwpose":
        raise ConfigError("--pose-models has no effect with --detector dwpose; leave one out")
