"""Pairs of ReferenceNet and denoising UNet: outputs, banks, activations.

The original works on a doubled batch with guidance: unconditional samples (a zero embedding, no
reference) first, conditional ones after them. So does ours.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aa_jax.config import ModelConfig
from aa_jax.models.animate_anyone import Networks, denoising_params, encode_pose
from aa_jax.models.reference_features import project_reference
from convert.verify import architecture, probes, training
from convert.verify.cases import Case, CaseError
from convert.verify.layout import channels_first, channels_last, state_dict_name

OUTPUT = {"atol": 1e-4}
OUTPUT_FLOAT16_BANK = {"atol": 1e-3}
BANK = {"atol": 2e-4}
POSE = {"atol": 5e-5}


@dataclasses.dataclass(frozen=True)
class Run:
    """One entry of `meta.json`'s `runs`, understood.

    Attributes:
      name: of the run.
      entry: as it stands.
      timesteps: one per sample.
      guided: the batch is doubled.
      special: what is before `b<batch>_<height>x<width>` in the name, less its number.
      file: of the inputs.
      samples: how many of the inputs' samples.
    """

    name: str
    entry: dict[str, Any]
    timesteps: tuple[int, ...]
    guided: bool
    special: str
    file: str

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> Run:
        """Reads an entry.

        Raises:
          CaseError: its kind is unknown or its parts contradict each other.
        """
        name, text = entry["name"], entry["inputs"]
        match = re.fullmatch(r"(?:([a-z]\w*?)\d*_)?b(\d+)_\d+x\d+(?:_(no)?cfg)?", name)
        special = "v1" if name.startswith("v1_") else match and match[1]
        if not match or special not in (*_SPECIAL, None):
            raise CaseError(f"runs: {name} is of no known kind; {', '.join(_SPECIAL)}")
        file = re.search(r"\binputs_\w+\.npz", text)
        count = re.search(r"first (\d+) of|\[:(\d+)\]", text)
        timesteps = tuple(entry["timesteps_per_sample"])
        if not file or not count or int(count[1] or count[2]) != len(timesteps):
            raise CaseError(f"runs: {name}: inputs {text!r} are none of {len(timesteps)} samples")
        guided = entry.get("classifier_free_guidance", False)
        return cls(name, entry, timesteps, guided, special or "", file[0])

    @property
    def bank_dtype(self) -> np.dtype | None:
        """What the bank is rounded through; None: there is no bank."""
        if self.special == "noref":
            return None
        return np.dtype(self.entry.get("bank_dtype", "float32"))


_SPECIAL = ("bankfp", "noref", "nopose", "tokens", "frames", "v1", "groups")


def verify(case: Case) -> None:
    """Repeats all runs, then the module probes and the training steps there are."""
    states = architecture.states_of(case)
    model = architecture.model_of(case.meta, states)
    params = architecture.params_of(case, model, states)
    for entry in case.field("runs"):
        with case.run(entry.get("name", "runs")):
            _verify_run(case, model, params, Run.parse(entry))
    for name in case.arrays("outputs.npz"):
        if name.startswith("pose_features_"):
            with case.attempt(name):
                _verify_pose_features(case, model, params, name)
    if "module_probes" in case.meta:
        with case.run("module_probes"):
            probes.verify(case, model, params)
    training.verify(case, model, params)


def _verify_run(case: Case, model: ModelConfig, params: Any, run: Run) -> None:
    model, params = _variant(case, model, params, run)
    inputs = _inputs(case, run)
    latents, embeds = channels_last(inputs["noisy_latents"]), inputs["clip_embeds"]
    timesteps = np.asarray(run.timesteps, np.int32)
    bank = reference_taps = pose = None
    if run.bank_dtype is not None:
        bank, reference_taps = _reference(
            model, params, channels_last(inputs["ref_latents"]), embeds
        )
    if inputs["pose_u8"] is not None:
        pose = _pose(model, params, _pictures(inputs["pose_u8"]))
    rounded = bank and {
        path: np.asarray(x).astype(run.bank_dtype).astype(np.float32) for path, x in bank.items()
    }
    if run.guided:
        latents, timesteps = np.concatenate([latents] * 2), np.concatenate([timesteps] * 2)
        embeds = np.concatenate([np.zeros_like(embeds), embeds])
        pose = None if pose is None else np.concatenate([pose] * 2)
    output, taps = _denoise(model, params, latents, timesteps, embeds, pose, rounded)

    file, key = run.entry["output"].split(":")
    tolerance = OUTPUT_FLOAT16_BANK if run.bank_dtype == np.float16 else OUTPUT
    case.compare(file, key, channels_first(output), **tolerance)
    if "bank" in run.entry:
        ours = {state_dict_name(path): x for path, x in bank.items()}
        _compare_all(case, run.entry["bank"], ours.__getitem__, lambda expected: BANK)
    if "taps" in run.entry:
        taps = {f"den/{name}": x for name, x in taps.items()}
        taps |= {f"ref/{name}": x for name, x in reference_taps.items()}
        text = run.entry["taps"]

        def tap(key: str) -> np.ndarray:
            return _some_frames(taps[key.split("@")[0]], case.read(_file(text), key), text)

        _compare_all(
            case, text, tap, lambda expected: {"rtol": 1e-4, "atol": 1e-4 * float(expected.std())}
        )


def _file(text: str) -> str:
    # A remark in brackets may follow.
    return text.split(" ")[0]


def _compare_all(
    case: Case, text: str, ours: Callable[[str], np.ndarray], tolerance: Callable
) -> None:
    file = _file(text)
    for key in case.arrays(file):
        with case.attempt(f"{file}:{key}"):
            case.compare(file, key, ours(key), **tolerance(case.read(file, key)))


def _some_frames(found: np.ndarray, expected: np.ndarray, text: str) -> np.ndarray:
    """The one frame of [b, c, t, h, w] that is kept of some activations."""
    kept = re.search(r"frame index (\d+) only", text)
    if kept and found.ndim == 5 and expected.shape[2] == 1 < found.shape[2]:
        index = int(kept[1])
        return found[:, :, index : index + 1]
    return found


def _variant(case: Case, model: ModelConfig, params: Any, run: Run) -> tuple[ModelConfig, Any]:
    """Model and parameters of runs with other options."""
    if run.special == "groups":
        groups = run.entry["norm_num_groups"]
        model = dataclasses.replace(
            model, unet=dataclasses.replace(model.unet, norm_num_groups=groups)
        )
    if run.special == "v1":
        model = architecture.temporal(case.field("v1_unet_additional_kwargs"), model)
        if not model.motion_module.mid_block:
            motion = {k: v for k, v in params["motion_module"].items() if k != "mid_block"}
            params = params | {"motion_module": motion}
    return model, params


def _inputs(case: Case, run: Run) -> dict[str, np.ndarray | None]:
    """A run's arrays: its share of an inputs file, some of them replaced by extra ones."""
    text, count = run.entry["inputs"], len(run.timesteps)
    inputs: dict[str, np.ndarray | None] = {}
    group = re.search(r"extra_inputs\.npz:(\w+)_\*", text)
    for name in ("ref_latents", "noisy_latents"):
        if group:
            inputs[name] = case.read("extra_inputs.npz", f"{group[1]}_{name}")
        else:
            inputs[name] = case.read(run.file, name)[:count]
    embeds = re.search(r"clip_embeds from extra_inputs\.npz:(\w+)", text)
    if embeds:
        inputs["clip_embeds"] = case.read("extra_inputs.npz", embeds[1])
    else:
        inputs["clip_embeds"] = case.read(run.file, "clip_embeds")[:count]
    poseless = group or run.special == "nopose"
    inputs["pose_u8"] = None if poseless else case.read(run.file, "pose_u8")[:count]
    return inputs


def _verify_pose_features(case: Case, model: ModelConfig, params: Any, name: str) -> None:
    match = re.fullmatch(r"pose_features_b(\d+)_(\d+x\d+)(?:_frame(\d+))?", name)
    if not match:
        raise CaseError(f"outputs.npz:{name} is of no known kind")
    pictures = case.read(f"inputs_{match[2]}.npz", "pose_u8")[: int(match[1])]
    features = channels_first(_pose(model, params, _pictures(pictures)))
    if match[3]:
        features = features[:, :, int(match[3])][:, :, None]
    case.compare("outputs.npz", name, features, **POSE)


def _pictures(pose_u8: np.ndarray) -> np.ndarray:
    return channels_last(pose_u8).astype(np.float32) / np.float32(255)


# --- networks -----------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def _pose(model: ModelConfig, params: Any, pictures: Any) -> jax.Array:
    return encode_pose(Networks.create(model), params, pictures)


@functools.partial(jax.jit, static_argnums=0)
def _reference(model: ModelConfig, params: Any, latents: Any, embeds: Any) -> tuple[Any, Any]:
    """The bank by parameter path, and activations by PyTorch module path."""
    bank, state = Networks.create(model).reference_unet.apply(
        {"params": params["reference_unet"]}, latents, embeds, **_CAPTURE
    )
    taps = _activations(state["intermediates"])
    return bank, {name: x[:, :, 0] if x.ndim == 5 else x for name, x in taps.items()}


@functools.partial(jax.jit, static_argnums=0)
def _denoise(
    model: ModelConfig, params: Any, latents, timesteps, embeds, pose, bank
) -> tuple[jax.Array, Any]:
    """The prediction, and activations by PyTorch module path."""
    reference = bank and project_reference(params["denoising_unet"], bank)
    output, state = Networks.create(model).denoising_unet.apply(
        {"params": denoising_params(params)},
        latents,
        timesteps,
        embeds,
        pose_features=pose,
        reference=reference,
        **_CAPTURE,
    )
    taps = _activations(state["intermediates"])
    entering = taps["conv_in"] if pose is None else taps["conv_in"] + channels_first(pose)
    return output, taps | {"conv_in_plus_pose": entering}


# Whole blocks, and what the mid block consists of.
_CAPTURE = {
    "capture_intermediates": lambda module, method: (
        method == "__call__"
        and (len(module.path) == 1 or (len(module.path) == 2 and module.path[0] == "mid_block"))
    ),
    "mutable": ["intermediates"],
}


def _activations(intermediates: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """First results of modules, channels first."""
    found = {}
    for name, value in intermediates.items():
        if name != "__call__":
            found |= _activations(value, (*path, name))
        elif path:
            first = value[0][0] if isinstance(value[0], tuple) else value[0]
            array = jnp.asarray(first)
            found[state_dict_name("/".join(path))] = (
                channels_first(array) if array.ndim > 2 else array
            )
    return found
