"""From a reference picture and skeleton pictures to a video.

    pipeline = Pipeline.of(config)
    video = pipeline.animate(params, reference, skeletons, steps=20, guidance_scale=3.5, seed=0)

The reference goes once through VAE, image encoder and ReferenceNet and becomes keys and values;
the skeletons become pose features; the denoising loop is one compiled `lax.scan`. `animate_batch`
takes many clips at once, and `encode`, `denoise` and `decode` are the three phases on their own.
Videos longer than the motion modules' clips are `aa_jax.sampling.long_video`'s.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Float, Int, PyTree, UInt8

from aa_jax import runtime
from aa_jax.config import ConfigError, ModelConfig, NoiseScheduleConfig, RunConfig, check_size
from aa_jax.diffusion import samplers
from aa_jax.diffusion.samplers import Sampler
from aa_jax.media.pictures import resize
from aa_jax.models import animate_anyone
from aa_jax.models.autoencoder import PIXELS_AT_ONCE, Autoencoder, to_unit
from aa_jax.models.image_encoder import ImageEncoder, no_embeds, preprocess
from aa_jax.models.reference import Encoded
from aa_jax.sampling import feature_cache

if TYPE_CHECKING:
    from aa_jax.weights import WeightsConfig


class SamplingError(ConfigError):
    """What was asked for cannot be sampled; the message says what could be."""


class Conditions(NamedTuple):
    """Everything the denoising UNet sees beside the latents; constant over the denoising loop.

    Attributes:
      image_embeds: [b, s, d].
      reference: what the reference pictures give the denoising UNet; the paper's ReferenceNet:
        keys and values by transformer block.
      pose_features: [b, t, h, w, d] at latent resolution.
    """

    image_embeds: Float[Array, "b s d"]
    reference: Encoded
    pose_features: Float[Array, "b t h w d"]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Sampling functions of one model; holds no parameters and can key a cache.

    Attributes:
      model: architecture.
      schedule: the noise schedule it was trained with.
      dtype: of the computation; parameters, latents and the sampler's arithmetic are float32.
      reference_dtype: dtype the ReferenceNet's features are rounded through; None: not at all.
        Moore-AnimateAnyone keeps them as float16.
    """

    model: ModelConfig
    schedule: NoiseScheduleConfig
    dtype: Any = jnp.float32
    reference_dtype: Any = None

    def __post_init__(self) -> None:
        runtime.watch_memory_maps()  # of a process that samples many sizes

    @classmethod
    def of(cls, config: WeightsConfig | RunConfig, dtype: Any = jnp.float32) -> Pipeline:
        """That of a set of weights, or of those a run trains, as their sampling defaults say."""
        rounded = config.sampling.reference_dtype
        return cls(config.model, config.schedule, dtype, jnp.dtype(rounded) if rounded else None)

    def animate(
        self,
        params: PyTree,
        reference: UInt8[np.ndarray, "y x 3"],
        skeletons: UInt8[np.ndarray, "t h w 3"],
        **settings: Any,
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Animates one picture of any size; settings are those of `animate_batch`."""
        if settings.get("noise") is not None:
            settings["noise"] = settings["noise"][None]
        return self.animate_batch(params, [reference], skeletons[None], **settings)[0]

    def animate_batch(
        self,
        params: PyTree,
        references: Sequence[UInt8[np.ndarray, "y x 3"]],
        skeletons: UInt8[np.ndarray, "b t h w 3"],
        *,
        steps: int,
        guidance_scale: float,
        seed: int = 0,
        sampler: samplers.Name = "ddim",
        eta: float = 0.0,
        feature_cache_interval: int = 1,
        noise: Float[Array, "b t hl wl c"] | None = None,
        report: Callable[[str], None] = lambda phase: None,
    ) -> UInt8[np.ndarray, "b t h w 3"]:
        """Animates b pictures; frame size and count are those of the skeleton pictures.

        Args:
          params: parameter trees by network name, as `aa_jax.weights.load` returns them.
          references: b pictures of any sizes, which are resized to the frames'.
          skeletons: skeleton pictures.
          steps: denoising steps.
          guidance_scale: of classifier-free guidance; at 1 or less there is none, which is twice
            as fast.
          seed: names the noise; every clip of the batch gets the same.
          sampler: see `aa_jax.diffusion.samplers`.
          eta: of `ddim`: 0 is deterministic, 1 adds as much fresh noise as DDPM.
          feature_cache_interval: see `denoise`.
          noise: initial noise instead of the seed's.
          report: called with a line of text at the start of each phase.

        Returns:
          Frames [b, t, h, w, 3].

        Raises:
          ConfigError: a size or the number of steps is impossible.
          SamplingError: more frames than the motion modules have positions for.
        """
        clips, frames, height, width = skeletons.shape[:4]
        self.check(height=height, width=width, steps=steps, sampler=sampler)
        motion = self.model.motion_module
        if motion.enabled and frames > motion.max_positions:
            raise SamplingError(
                f"{frames} frames are more than the {motion.max_positions} positions of the motion "
                "modules; longer videos are made in windows by aa_jax.sampling.long_video"
            )
        report(f"encoding the reference picture and {frames} skeletons")
        size = self.model.image_encoder.image_size
        conditions = self.encode(
            params,
            np.stack([resize(picture, width, height) for picture in references]),
            np.stack([preprocess(picture, size) for picture in references]),
            skeletons,
        )
        if noise is None:
            noise = repeat(self.noise(seed, frames, height, width), "... -> b ...", b=clips)
        jax.block_until_ready(conditions)  # so that phases do not overlap in what is reported
        report(f"denoising {frames} frames in {steps} steps, all in one piece")
        start = time.perf_counter()
        latents = self.denoise(
            params,
            conditions,
            noise,
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            sampler=sampler,
            eta=eta,
            feature_cache_interval=feature_cache_interval,
        )
        jax.block_until_ready(latents)
        taken = time.perf_counter() - start
        report(f"denoised in {taken:.1f} s, compiling included; decoding {frames} frames")
        flat = np.concatenate(list(self.decode(params, rearrange(latents, "b t ... -> (b t) ..."))))
        return rearrange(flat, "(b t) h w c -> b t h w c", b=clips)

    def check(
        self, *, height: int, width: int, steps: int, sampler: samplers.Name = "ddim"
    ) -> None:
        """Raises, in one line, for what cannot be sampled whatever the number of frames."""
        check_size(width, height, self.model, where="size")
        Sampler(sampler, self.schedule).plan(steps)

    def noise(
        self, seed: int, frames: int | Int[np.ndarray, " t"], height: int, width: int
    ) -> Float[Array, "t h w c"]:
        """Initial noise of a seed for frames of height x width pixels.

        Every frame has its own stream: a longer clip begins with the noise of a shorter one.

        Args:
          seed: names the noise.
          frames: how many from the first, or the indices of some.
          height: of the video, pixels.
          width: of the video, pixels.
        """
        factor = self.model.autoencoder.downscale_factor
        shape = (height // factor, width // factor, self.model.unet.in_channels)
        indices = np.arange(frames) if isinstance(frames, int) else frames
        return frame_noise(stream(seed, "noise"), indices, shape)

    def encode(
        self,
        params: PyTree,
        references: UInt8[np.ndarray, "b h w 3"],
        clip_pixels: Float[np.ndarray, "b s s 3"],
        skeletons: UInt8[np.ndarray, "b t h w 3"],
    ) -> Conditions:
        """What the denoising UNet needs to know of references and skeletons.

        Args:
          params: parameter trees by network name.
          references: the pictures at the frames' size.
          clip_pixels: the pictures as `image_encoder.preprocess` makes them.
          skeletons: skeleton pictures.
        """
        return _encode(self, params, references, clip_pixels, skeletons)

    def denoise(
        self,
        params: PyTree,
        conditions: Conditions,
        noise: Float[Array, "b t h w c"],
        *,
        steps: int,
        guidance_scale: float,
        seed: int = 0,
        sampler: samplers.Name = "ddim",
        eta: float = 0.0,
        feature_cache_interval: int = 1,
    ) -> Float[Array, "b t h w c"]:
        """Runs the whole denoising loop from initial noise to clean latents.

        Args:
          params: parameter trees by network name.
          conditions: what `encode` returns.
          noise: initial noise.
          steps: denoising steps.
          guidance_scale: at 1 or less there is no guidance.
          seed: names the fresh noise of `eta`.
          sampler: see `aa_jax.diffusion.samplers`.
          eta: see `animate_batch`.
          feature_cache_interval: only every so many steps the whole denoising UNet is computed, in
            the others its shallowest layers with the deep features of the last whole one: an
            approximation (DeepCache, arXiv 2312.00858). 1: always the whole network.
        """
        return _denoise(
            self,
            Sampler(sampler, self.schedule, float(eta)),
            steps,
            guidance_scale > 1,
            feature_cache_interval,
            params,
            conditions,
            noise,
            jnp.float32(guidance_scale),
            stream(seed, "ddim"),
        )

    def decode(
        self, params: PyTree, latents: Float[Array, "n h w c"]
    ) -> Iterator[UInt8[np.ndarray, "chunk y x 3"]]:
        """Decodes latents to 8-bit pictures, yielding them in chunks of bounded memory."""
        count, height, width = latents.shape[:3]
        pixels = height * width * self.model.autoencoder.downscale_factor**2
        chunk = min(count, max(1, PIXELS_AT_ONCE // pixels))
        for start in range(0, count, chunk):
            part = latents[start : start + chunk]
            missing = chunk - len(part)  # one compiled shape serves the last chunk too
            part = jnp.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            yield np.asarray(_decode(self, params["vae"], part))[: chunk - missing]


@functools.partial(jax.jit, static_argnums=0)
def encode_reference(
    pipeline: Pipeline,
    params: PyTree,
    references: UInt8[Array, "b h w 3"],
    clip_pixels: Float[Array, "b s s 3"],
) -> tuple[Float[Array, "b s d"], Encoded]:
    """Image embeddings, and what else pictures prepared as for `Pipeline.encode` give."""
    model, dtype = pipeline.model, pipeline.dtype
    networks = animate_anyone.Networks.create(model, dtype=dtype)
    latents = None
    if model.reference.reads_latents:
        latents = Autoencoder(model.autoencoder, dtype).encode(params["vae"], to_unit(references))
    if model.reference.has_embedding:
        encoder = ImageEncoder.of(model, dtype)
        image_embeds = encoder.encode(params["image_encoder"], clip_pixels)
    else:
        image_embeds = no_embeds(model.image_encoder, len(references))
    reference = animate_anyone.encode_reference(
        networks,
        params,
        latents,
        image_embeds,
        reference_pictures=references.astype(jnp.float32) / 255.0,
        storage_dtype=pipeline.reference_dtype,
    )
    return image_embeds, reference


def encode_skeletons(
    pipeline: Pipeline, params: PyTree, skeletons: UInt8[Array, "b t h w 3"]
) -> Float[Array, "b t hl wl d"]:
    """Pose features of skeleton pictures."""
    networks = animate_anyone.Networks.create(pipeline.model, dtype=pipeline.dtype)
    return animate_anyone.encode_pose(networks, params, skeletons.astype(jnp.float32) / 255.0)


@functools.partial(jax.jit, static_argnums=0)
def _encode(pipeline: Pipeline, params, references, clip_pixels, skeletons) -> Conditions:
    return Conditions(
        *encode_reference(pipeline, params, references, clip_pixels),
        encode_skeletons(pipeline, params, skeletons),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _denoise(
    pipeline: Pipeline,
    sampler: Sampler,
    steps: int,
    guided: bool,
    feature_cache_interval: int,
    params,
    conditions: Conditions,
    noise,
    guidance_scale,
    key,
):
    predict = predictor(pipeline, params, conditions, guidance_scale if guided else None)

    def advance(state: samplers.State, index: Array, row: samplers.Plan, prediction: Array):
        fresh = None
        if sampler.eta > 0:
            fresh = frame_noise(
                jax.random.fold_in(key, index), np.arange(noise.shape[1]), noise.shape[2:]
            )
            fresh = jnp.broadcast_to(fresh[None], noise.shape)
        return sampler.advance(state, prediction, row, fresh)

    def step(state, scanned):
        _, row = scanned
        return advance(state, *scanned, predict(state.latents, row.timestep)), None

    scanned = np.arange(steps), sampler.plan(steps)
    if feature_cache_interval > 1:
        return feature_cache.scan(
            predict, advance, sampler.start(noise), scanned, feature_cache_interval
        ).latents
    return jax.lax.scan(step, sampler.start(noise), scanned)[0].latents


def predictor(
    pipeline: Pipeline, params: PyTree, conditions: Conditions, guidance_scale: Array | None
) -> Callable[..., Any]:
    """(latents [b t h w c], timestep) -> the model's prediction; guided unless the scale is None.

    Keyword arguments `deep` and `return_deep` are those of `DenoisingUNet`.
    """
    networks = animate_anyone.Networks.create(pipeline.model, dtype=pipeline.dtype)

    def predict(latents, timestep, **deep_features):
        given = {
            "noisy_latents": latents,
            "timesteps": jnp.broadcast_to(timestep, latents.shape[:1]),
            **conditions._asdict(),
            **deep_features,
        }
        if guidance_scale is None:
            return animate_anyone.predict_conditional(networks, params, **given)
        return animate_anyone.predict_guided(
            networks, params, guidance_scale=guidance_scale, **given
        )

    return predict


@functools.partial(jax.jit, static_argnums=0)
def _decode(pipeline: Pipeline, vae_params, latents):
    vae = Autoencoder(pipeline.model.autoencoder, pipeline.dtype)
    pictures = vae.decode(vae_params, latents)
    return jnp.clip(jnp.round((pictures + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def stream(seed: int, name: str) -> Array:
    """Random key of one of a seed's streams."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


@functools.partial(jax.jit, static_argnums=2)
def frame_noise(
    key: Array, frames: Int[Array, " t"], shape: tuple[int, ...]
) -> Float[Array, "t ..."]:
    """Standard normal noise of frames, each drawn from its own stream, named by its index."""
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(frames)
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
