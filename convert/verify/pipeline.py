"""The whole pipeline: from pictures to a video longer than one window."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from aa_jax.config import ModelConfig
from aa_jax.diffusion import ddim
from aa_jax.media.pictures import resize
from aa_jax.models.autoencoder import Autoencoder, to_unit
from aa_jax.models.image_encoder import CLIP_MEAN, CLIP_STD, ImageEncoder, preprocess
from aa_jax.sampling import long_video
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.windows import Windows
from convert.verify import architecture
from convert.verify.cases import Case, CaseError
from convert.verify.diffusion import schedule_of
from convert.verify.layout import channels_first, channels_last

OUTPUTS, PREPROCESSED = "outputs.npz", "preprocessed.npz"
VAE, IMAGE_ENCODER = "vae", "image_encoder"

PIXELS = {"atol": 1e-6}
EMBEDDING = {"atol": 1e-4}
MOMENTS = {"atol": 5e-4}
REFERENCE_LATENTS = {"atol": 1e-4}
POSE = {"atol": 5e-5}
ONE_WINDOW = {"atol": 1e-3}


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """What the bank's precision leaves of a long run.

    Guidance multiplies what a bank value that rounds the other way changes, and steps pile it up.
    """

    first_prediction: float
    first_latents: float
    latents: float
    video: float


FLOAT32_BANK = Tolerances(5e-4, 1e-4, 2e-3, 5e-4)
FLOAT16_BANK = Tolerances(5e-3, 1e-3, 1e-2, 2e-3)


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of the original's pipeline.

    Attributes:
      frames: how many of the case's, from the first.
      steps: DDIM steps.
      guidance: scale of classifier-free guidance.
      bank_dtype: what the reference features are rounded through; None: nothing.
    """

    frames: int
    steps: int
    guidance: float
    bank_dtype: Any = None

    @classmethod
    def parse(cls, name: str, text: str, settings: dict[str, Any]) -> Run:
        """A run from its description; what that leaves out is as in the case's settings."""
        frames = re.search(r"first (\d+) frames", text)
        steps = re.search(r"(\d+) steps", text)
        guidance = re.search(r"guidance_scale (\d+(?:\.\d+)?)", text)
        return cls(
            frames=int(frames[1]) if frames else settings["frames"],
            steps=int(steps[1]) if steps else settings["steps"],
            guidance=float(guidance[1]) if guidance else settings["guidance"],
            bank_dtype=np.float16 if name.startswith("fp16") else None,
        )


def verify(case: Case) -> None:
    """Compares preparation, encoders, windows and every run."""
    settings = case.field("pipeline")
    _check_settings(settings)
    model, params = _load(case)
    check = _Checks(case, settings, model, params)
    with case.attempt("preprocessed"):
        check.pictures()
    with case.run("encoders"):
        check.encoders()
    with case.attempt("windows"):
        check.windows()
    for name, text in case.field("runs").items():
        with case.run(name):
            check.run(name, Run.parse(name, text, settings))


def _check_settings(settings: dict[str, Any]) -> None:
    expected = {
        "context_schedule": "uniform",
        "eta": 0.0,
        "interpolation_factor": 1,
        "num_images_per_prompt": 1,
        "context_batch_size": 1,
    }
    for name, value in expected.items():
        if settings.get(name, value) != value:
            raise CaseError(f"pipeline.{name}={settings[name]}: only {value} can be repeated")


def _load(case: Case) -> tuple[ModelConfig, dict[str, Any]]:
    """The model, whose UNets' configuration stands beside their weights, and its parameters."""
    home = case.weights_path("denoising_unet").parent / "meta.json"
    meta = case.meta if "unet_config" in case.meta else json.loads(home.read_text())
    states = architecture.states_of(case)
    model = architecture.model_of(
        meta,
        states,
        architecture.autoencoder_config(case.field("vae_config")),
        architecture.image_encoder_config(case.field("clip_config")),
    )
    return model, architecture.params_of(case, model, states)


class _Checks:
    """The parts of one case."""

    def __init__(self, case: Case, settings: dict[str, Any], model: ModelConfig, params: Any):
        self.case, self.settings, self.model, self.params = case, settings, model, params
        self.schedule = schedule_of(case.field("scheduler_kwargs"))
        self.width, self.height = settings["width"], settings["height"]
        picture = case.read("inputs.npz", "ref_image_u8")
        self.picture = resize(picture, self.width, self.height)
        self.pixels = preprocess(picture, model.image_encoder.image_size)
        self.skeletons = np.stack(
            [
                resize(pose, self.width, self.height)
                for pose in case.read("inputs.npz", "pose_images_u8")
            ]
        )
        self.kept_steps, self.kept_frames = (
            case.read(OUTPUTS, name).tolist() for name in ("kept_steps", "kept_frames")
        )

    def compare(self, name: str, found: Any, **tolerance: float) -> None:
        self.case.compare(OUTPUTS, name, found, **tolerance)

    def pictures(self) -> None:
        """Resized and normalised inputs."""
        compare = self.case.compare
        resized = np.rint((self.pixels * CLIP_STD + CLIP_MEAN) * np.float32(255))
        compare(PREPROCESSED, "clip_resized_u8", resized)
        some = self.case.read(PREPROCESSED, "clip_pixel_values_sub")
        every = len(self.pixels) // some.shape[-1]
        kept = channels_first(self.pixels[None, ::every, ::every])
        compare(PREPROCESSED, "clip_pixel_values_sub", kept, **PIXELS)
        compare(PREPROCESSED, "vae_input_u8", self.picture)
        compare(PREPROCESSED, "pose_input_u8", self.skeletons)

    def encoders(self) -> None:
        """Image encoder, VAE and Pose Guider."""
        tower = ImageEncoder(self.model.image_encoder)
        hidden = jax.jit(tower.hidden_states)(self.params[IMAGE_ENCODER], self.pixels[None])
        embeds = jax.jit(tower.encode)(self.params[IMAGE_ENCODER], self.pixels[None])
        self.compare("clip_last_hidden_state", hidden, **EMBEDDING)
        self.compare("clip_embeds", embeds[:, 0], **EMBEDDING)
        vae = Autoencoder(self.model.autoencoder)
        mean, logvar = jax.jit(vae.encode_moments)(self.params[VAE], to_unit(self.picture[None]))
        self.compare("vae_mean", channels_first(mean), **MOMENTS)
        self.compare("vae_logvar", channels_first(logvar), **MOMENTS)
        latents = channels_first(mean * vae.config.scaling_factor)
        self.compare("ref_latents", latents, **REFERENCE_LATENTS)
        encode = jax.jit(pipeline_lib.encode_skeletons, static_argnums=0)
        pictures = self.skeletons[None, self.kept_frames[:2]]
        features = encode(Pipeline(self.model, self.schedule), self.params, pictures)
        self.compare("pose_features_frames", channels_first(features), **POSE)

    def windows(self) -> None:
        """Timesteps, and the windows of every step."""
        steps = self.settings["steps"]
        self.compare("timesteps", ddim.timesteps(self.schedule, steps))
        windows = self._windows(self.settings["guidance"])
        for step in range(steps):
            plan = windows.plan(self.settings["frames"], step=step, steps=steps)
            name = f"meta.json:windows (step {step})"
            self.case.ledger.compare(name, plan.frames, self.case.field("windows"))

    def _windows(self, guidance: float) -> Windows:
        return Windows(
            method="uniform",
            frames=self.settings["context_frames"],
            overlap=self.settings["context_overlap"],
            stride=self.settings["context_stride"],
            average=guidance > 1,  # without guidance the original forgets to divide
        )

    def run(self, name: str, run: Run) -> None:
        """One whole run; compares what the case keeps of it."""
        kept = [key for key in self.case.arrays(OUTPUTS) if key.startswith(f"{name}/")]
        if not kept:
            raise CaseError(f"{OUTPUTS} keeps nothing of this run")
        pipeline = Pipeline(self.model, self.schedule, reference_dtype=run.bank_dtype)
        conditions = pipeline_lib.encode_reference(
            pipeline, self.params, self.picture[None], self.pixels[None]
        )
        initial = channels_last(self.case.read("inputs.npz", "initial_latents"))[0, : run.frames]
        first = np.zeros_like(initial)

        def observe(step: int, frames: np.ndarray, prediction: np.ndarray) -> None:
            if step == 0:
                first[frames] = prediction

        steps = long_video.denoise(
            pipeline,
            self.params,
            *conditions,
            self.skeletons[: run.frames],
            initial,
            windows=self._windows(run.guidance),
            steps=run.steps,
            guidance_scale=run.guidance,
            devices=jax.devices()[:1],
            observe=observe,
        )
        latents = [step.latents.copy() for step in steps]
        tolerances = FLOAT32_BANK if run.bank_dtype is None else FLOAT16_BANK
        final = latents[-1]
        video = None
        for key in kept:
            part = key.removeprefix(f"{name}/")
            if part == "final_latents":
                self.compare(key, _clip(final), **ONE_WINDOW)
            elif part == "guided_output_step0":
                self.compare(key, _clip(first), atol=tolerances.first_prediction)
            elif part == "latents_kept":
                self._latents(key, latents, tolerances)
            elif part.startswith("video_"):
                video = self._decode(final) if video is None else video
                self._video(key, part, np.clip(video / 2 + 0.5, 0, 1), tolerances)
            else:
                raise CaseError(f"{OUTPUTS}:{key} is of no known kind")
        raw = self.case.meta["arrays"][OUTPUTS].get("decode_frame0_raw", {}).get("what", "")
        if f"of the {name} run" in raw:
            video = self._decode(final) if video is None else video
            self.compare("decode_frame0_raw", channels_first(video[:1]), atol=2 * tolerances.video)

    def _latents(self, key: str, latents: list[np.ndarray], tolerances: Tolerances) -> None:
        expected = self.case.read(OUTPUTS, key)
        if len(expected) != len(self.kept_steps):
            raise CaseError(f"{OUTPUTS}:{key} has {len(expected)} steps, not {self.kept_steps}")
        for i, step in enumerate(self.kept_steps):
            atol = tolerances.first_latents if i == 0 else tolerances.latents
            name = f"{OUTPUTS}:{key}[{i}] (step {step})"
            self.case.ledger.compare(name, _clip(latents[step]), expected[i], atol=atol)

    def _decode(self, latents: Float[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t y x 3"]:
        decode = jax.jit(Autoencoder(self.model.autoencoder).decode)
        return np.concatenate([decode(self.params[VAE], frame[None]) for frame in latents])

    def _video(self, key: str, part: str, video: np.ndarray, tolerances: Tolerances) -> None:
        """Frames in 0..1, or truncated to bytes."""
        if every := re.fullmatch(r"video_u8_every(\d+)\w\w", part):
            self.compare(key, (video[:: int(every[1])] * 255).astype(np.uint8), atol=1)
        elif part == "video_frames_f32":
            what = self.case.field("arrays", OUTPUTS, key, "what")
            one = re.search(r"kept_frames\[(\d+)\]", what)
            rest = re.search(r"kept_frames\[(\d+):\]", what)
            if not (one or rest):
                raise CaseError(f"{OUTPUTS}:{key}: which frames cannot be read from {what!r}")
            chosen = [self.kept_frames[int(one[1])]] if one else self.kept_frames[int(rest[1]) :]
            self.compare(key, _clip(video[chosen]), atol=tolerances.video)
        else:
            raise CaseError(f"{OUTPUTS}:{key} is of no known kind")


def _clip(frames: Float[np.ndarray, "t h w c"]) -> Float[np.ndarray, "1 c t h w"]:
    return channels_first(frames[None])
