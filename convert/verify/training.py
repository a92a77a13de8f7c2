"""Single training steps of both stages: prediction, loss and gradients."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from aa_jax.config import ModelConfig, NoiseScheduleConfig
from aa_jax.diffusion import noise_schedule, objective
from aa_jax.models import torch_names
from aa_jax.models.animate_anyone import (
    Networks,
    denoising_params,
    encode_pose,
    encode_reference,
)
from convert.verify.cases import Case, CaseError
from convert.verify.diffusion import SAMPLE, TABLE, schedule_of
from convert.verify.layout import channels_first, channels_last

PREDICTION = {"atol": 1e-4}
LOSS = {"rtol": 1e-5}
PER_SAMPLE = {"rtol": 1e-5}
# Norms below 1e-6 are rounding noise around zero.
NORMS = {"rtol": 1e-4, "atol": 1e-6}
GRADIENT = 1e-4
"""Tolerance of a gradient, as a share of its largest entry."""


def verify(case: Case, model: ModelConfig, params: PyTree) -> None:
    """Repeats every training step of a case of UNets."""
    for name in sorted(name for name in case.meta if name.startswith("train_")):
        with case.run(name):
            step = Step(case, name, model, params)
            step.verify()
            if f"{name}_uncond.npz" in case.meta["arrays"]:
                step.verify_without_reference(f"{name}_uncond.npz")


class Step:
    """One training step of a case."""

    def __init__(self, case: Case, name: str, model: ModelConfig, params: PyTree):
        self.case, self.file = case, f"{name}.npz"
        self.entry = case.field(name)
        self.model, self.params = model, params
        self.schedule = schedule_of(self.entry["noise_scheduler_kwargs"])
        clean, noise = (case.read(self.file, f"in/{part}") for part in ("latents", "noise"))
        inputs = self._inputs_file(clean.shape)
        reference_latents, embeds, pictures = (
            case.read(inputs, part) for part in ("ref_latents", "clip_embeds", "pose_u8")
        )
        self.batch = {
            "clean": channels_last(clean),
            "noise": channels_last(noise),
            "timesteps": case.read(self.file, "in/timesteps").astype(np.int32),
            "reference_latents": channels_last(reference_latents),
            "embeds": embeds,
            "pictures": channels_last(pictures).astype(np.float32) / np.float32(255),
        }

    def _inputs_file(self, shape: tuple[int, ...]) -> str:
        """The inputs of the clips' size, which hold the conditions."""
        for file in self.case.meta["arrays"]:
            if re.fullmatch(r"inputs_\w+\.npz", file):
                arrays = self.case.arrays(file)
                if "noisy_latents" in arrays and arrays["noisy_latents"].shape == shape:
                    return file
        raise CaseError(f"{self.file}: no inputs_*.npz has clips of the shape {list(shape)}")

    def verify(self) -> None:
        """Compares everything on the way to the loss, the loss, and the gradients."""
        case, file, batch = self.case, self.file, self.batch
        times, gamma = batch["timesteps"], self.entry["snr_gamma"]
        arguments = self.schedule, batch["clean"], batch["noise"], times
        noisy = noise_schedule.add_noise(*arguments)
        target = noise_schedule.prediction_of(*arguments)
        case.compare(file, "out/noisy_latents", channels_first(noisy), **SAMPLE)
        case.compare(file, "out/target", channels_first(target), **SAMPLE)
        case.compare(file, "out/snr", noise_schedule.snr(self.schedule, times), **TABLE)
        weights = objective.min_snr_weights(self.schedule, times, gamma)
        case.compare(file, "out/min_snr_weights", weights, **TABLE)

        chosen = self._trainable()
        (loss, (prediction, losses)), gradients = _differentiate(
            self.model, self.schedule, float(gamma), True, chosen, self.params, batch
        )
        case.compare(file, "out/model_pred", channels_first(prediction), **PREDICTION)
        case.compare(file, "out/per_sample_mse", losses, **PER_SAMPLE)
        case.compare(file, "out/loss", loss, **LOSS)
        self._verify_gradients(gradients)

    def verify_without_reference(self, file: str) -> None:
        """Compares the same step with the ReferenceNet skipped."""
        loss, (prediction, _) = _loss(
            self.model,
            self.schedule,
            float(self.entry["snr_gamma"]),
            False,
            self.params,
            self.batch,
        )
        self.case.compare(file, "out/model_pred", channels_first(prediction), **PREDICTION)
        self.case.compare(file, "out/loss", loss, **LOSS)

    def _trainable(self) -> tuple[str, ...]:
        """Networks that learn: the motion modules, or in stage 1 all there are."""
        if self.entry["trainable"].endswith("contains motion_modules"):
            return ("motion_module",)
        return tuple(self.params)

    def _verify_gradients(self, gradients: dict[str, PyTree]) -> None:
        case, file = self.case, self.file
        ours = {
            f"{'denoising_unet' if name == 'motion_module' else name}.{key}": gradient
            for name, tree in gradients.items()
            for key, gradient in torch_names.to_torch(tree).items()
        }
        if left_out := re.search(
            r"except reference UNet names containing (\S+)$", self.entry["trainable"]
        ):
            ours = {
                name: gradient
                for name, gradient in ours.items()
                if not (name.startswith("reference_unet.") and left_out[1] in name)
            }
        names = [str(name) for name in case.read(file, "grad_norms/names")]
        different = sorted(ours.keys() ^ set(names))
        if different or len(names) != self.entry["n_trainable"]:
            raise CaseError(
                f"{file}:grad_norms/names: {len(names)} parameters, ours are {len(ours)}; "
                f"different: {', '.join(different[:3])}"
            )
        expected = case.read(file, "grad_norms/values")
        norms = np.array([np.linalg.norm(ours[name].astype(np.float64)) for name in names])
        case.ledger.compare(f"{file}:grad_norms/values", norms, expected, **NORMS)
        for key in case.arrays(file):
            if key.startswith("grad/"):
                with case.attempt(f"{file}:{key}"):
                    largest = float(np.abs(case.read(file, key)).max())
                    gradient = ours[key.removeprefix("grad/")]
                    case.compare(file, key, gradient, atol=GRADIENT * largest)


def _objective(
    model: ModelConfig,
    schedule: NoiseScheduleConfig,
    gamma: float,
    referenced: bool,
    params: PyTree,
    batch: dict[str, Any],
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The loss; and the prediction and every sample's unweighted loss."""
    networks = Networks.create(model)
    clean, noise, times = batch["clean"], batch["noise"], batch["timesteps"]
    reference = None
    if referenced:
        reference = encode_reference(networks, params, batch["reference_latents"], batch["embeds"])
    prediction = networks.denoising_unet.apply(
        {"params": denoising_params(params)},
        noise_schedule.add_noise(schedule, clean, noise, times),
        times,
        batch["embeds"],
        pose_features=encode_pose(networks, params, batch["pictures"]),
        reference=reference,
    )
    arguments = schedule, prediction, clean, noise, times
    losses = objective.diffusion_loss(*arguments, snr_gamma=gamma)
    return losses.mean(), (prediction, objective.diffusion_loss(*arguments))


def _loss(model, schedule, gamma, referenced, params, batch):
    call = jax.jit(_objective, static_argnums=(0, 1, 2, 3))
    return call(model, schedule, gamma, referenced, params, batch)


def _differentiate(model, schedule, gamma, referenced, chosen, params, batch):
    """Value and gradients with respect to the chosen networks."""

    def loss(trainable, frozen):
        return _objective(model, schedule, gamma, referenced, frozen | trainable, batch)

    trainable = {name: params[name] for name in chosen}
    frozen = {name: tree for name, tree in params.items() if name not in chosen}
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(trainable, frozen)
