"""What is asked for: the flags and, where they are silent, the weights' defaults; checked."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.resources
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from aa_jax import weights
from aa_jax.media.pictures import read_picture
from aa_jax.pose.people import Who
from aa_jax.sampling import pose_flags
from aa_jax.sampling.flags import PRESETS
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.windows import Windows
from aa_jax.weights import WeightsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseSource:
    """Where poses come from; names are those of the flags (`aa_jax.sampling.flags`).

    What is None was not asked for.

    Attributes:
      path: keypoints or skeleton pictures, where there is no driving video.
      driving: a video in which they are detected.
      poses_size: width and height of the canvas of keypoints that do not say so.
      reference_poses: keypoints of the reference picture, to whose body they are fitted.
      detector: of `aa_jax.pose.detectors`; `dwpose` and `pose_models` say where its files are.
    """

    path: Path
    driving: Path | None = None
    reference_poses: Path | None = None
    poses_size: tuple[int, int] | None = None
    detector: Literal["auto", "dwpose", "blazepose"] | None = None
    dwpose: str | None = None
    pose_models: str | None = None
    person: Who | None = None
    smoothing: Literal["one_euro", "savgol", "none"] | None = None
    retargeting: Literal["bones", "affine", "none"] | None = None
    anchor: Literal["auto", "neck", "ground"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """Everything that a video follows from, but the poses and the parameters themselves.

    Attributes:
      weights: weights directory, or `bundled`.
      config: its `config.json`.
      pipeline: of these weights.
      reference: the character, of any size, on the background asked for.
      reference_file: the picture it was read from.
      poses: where they come from.
      width, height: of the video, pixels.
      most_frames: how many poses to use, from the first; None: all.
      least_frames: how many there must be.
      windows: how a long video is cut.
      settings: arguments of `long_video.animate`: steps, guidance scale, seed, sampler, eta.
      feature_cache_interval: see `Pipeline.denoise`.
    """

    weights: str
    config: WeightsConfig
    pipeline: Pipeline
    reference: UInt8[np.ndarray, "y x 3"]
    reference_file: Path
    poses: PoseSource
    width: int
    height: int
    most_frames: int | None
    least_frames: int
    windows: Windows
    settings: dict[str, Any]
    feature_cache_interval: int


def read(flags: argparse.Namespace) -> Request:
    """The request of `aa_jax.sampling.flags`; the one place where a default is chosen.

    Raises:
      ConfigError: settings that cannot be.
      WeightsError, PictureError: files that cannot be used.
    """
    config = weights.load_config(flags.weights)
    defaults = config.sampling
    preset = PRESETS[flags.preset] if flags.preset else defaults
    sampler = flags.sampler or preset.sampler
    guidance = defaults.guidance_scale if flags.guidance_scale is None else flags.guidance_scale
    picture = Path(flags.reference or _asset("reference.png"))
    request = Request(
        weights=flags.weights,
        config=config,
        pipeline=Pipeline.of(config, jnp.dtype(flags.dtype)),
        reference=read_picture(picture, flags.background),
        reference_file=picture,
        poses=PoseSource(
            path=Path(flags.poses or _asset("poses.npz")),
            driving=flags.driving,
            reference_poses=flags.reference_poses,
            poses_size=flags.poses_size,
            detector=flags.detector,
            dwpose=flags.dwpose,
            pose_models=flags.pose_models,
            person=flags.person,
            smoothing=flags.smoothing,
            retargeting=flags.retargeting,
            anchor=flags.anchor,
        ),
        width=flags.width or defaults.width,
        height=flags.height or defaults.height,
        most_frames=flags.frames,
        least_frames=flags.frames or 1,
        windows=Windows.for_weights(
            defaults, config.model, method=flags.window_method, overlap=flags.overlap
        ),
        settings={
            "steps": flags.steps or preset.steps,
            "guidance_scale": guidance,
            "seed": flags.seed,
            "sampler": sampler,
            "eta": defaults.eta if sampler == "ddim" else 0.0,
        },
        feature_cache_interval=flags.feature_cache_interval,
    )
    pose_flags.check(request.poses)
    request.pipeline.check(
        height=request.height,
        width=request.width,
        steps=request.settings["steps"],
        sampler=sampler,
    )
    return request


def _asset(name: str) -> Path:
    return Path(str(importlib.resources.files("aa_jax") / "assets" / name))
