"""Pose Guiders of several widths."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np

from aa_jax.config import ModelConfig
from aa_jax.models.pose_guider import PoseGuider
from convert.verify import architecture
from convert.verify.cases import Case, CaseError
from convert.verify.layout import channels_first, channels_last, state_dict_name

FEATURES = {"atol": 5e-5}
OUTPUTS = "outputs.npz"


def verify(case: Case) -> None:
    """Compares every run's features and every activation kept."""
    runs = {entry["name"]: entry for entry in case.field("runs")}
    for widths in case.field("weights"):
        with case.run(widths):
            _verify_widths(case, widths, runs)
    for name in runs:
        if name.split("/")[0] not in case.meta["weights"]:
            case.ledger.fail(name, "names no weights of meta.json")


def _verify_widths(case: Case, widths: str, runs: dict[str, Any]) -> None:
    state = case.weights(widths)
    features = case.field("weights", widths, "conditioning_embedding_channels")
    config = architecture.pose_guider_config(state)
    expected = tuple(case.field("weights", widths, "block_out_channels"))
    if config.block_out_channels != expected:
        raise CaseError(f"weights have the widths {config.block_out_channels}, not {expected}")
    factor = 2 ** (len(expected) - 1)
    model = ModelConfig(pose_guider=config)
    model = architecture.with_first_width(model, features, factor)
    params = architecture.params_of(case, model, {"pose_guider": state})["pose_guider"]
    guider = PoseGuider(config, features=features, downscale_factor=factor)

    @jax.jit
    def encode(pictures):
        return guider.apply(
            {"params": params}, pictures, capture_intermediates=True, mutable=["intermediates"]
        )

    for name in (name for name in runs if name.startswith(f"{widths}/")):
        with case.attempt(name):
            output, _ = encode(_pictures(case, name.split("/", 1)[1]))
            file, key = runs[name]["output"].split(":")
            case.compare(file, key, channels_first(output), **FEATURES)
    for key in case.arrays(OUTPUTS):
        if key.startswith(f"{widths}/tap/"):
            with case.attempt(key):
                _verify_tap(case, key, encode)


def _pictures(case: Case, name: str) -> np.ndarray:
    return channels_last(case.read("inputs.npz", name)).astype(np.float32) / np.float32(255)


def _verify_tap(case: Case, key: str, encode) -> None:
    text = case.field("arrays", OUTPUTS, key, "what")
    match = re.search(r"of (\S+) for (\w+), sample (\d+) frame (\d+) only", text)
    if not match:
        raise CaseError(f"{OUTPUTS}:{key}: what it is cannot be read from {text!r}")
    module, source, sample, frame = match[1], match[2], int(match[3]), int(match[4])
    _, state = encode(_pictures(case, source))
    found = {
        state_dict_name(name): value["__call__"][0]
        for name, value in state["intermediates"].items()
        if name != "__call__"
    }[module]
    kept = found[sample : sample + 1, frame : frame + 1]
    case.compare(OUTPUTS, key, channels_first(kept), **FEATURES)
