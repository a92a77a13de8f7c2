"""What each training task minimises.

Every loss takes `(trainable, frozen, batch, keys)`: two groups of parameter trees by network name,
a batch of `aa_jax.data.loader`, and one random key per example. It returns the mean loss and
what to log, each a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Int, PyTree

from aa_jax.config import RunConfig
from aa_jax.diffusion import ddim
from aa_jax.diffusion.noise_schedule import add_noise, clean_and_noise
from aa_jax.diffusion.objective import diffusion_loss
from aa_jax.kernels import sharding
from aa_jax.models import animate_anyone
from aa_jax.models.autoencoder import Autoencoder, to_unit
from aa_jax.models.image_encoder import ImageEncoder, no_embeds
from aa_jax.training.step import Batch, LossFn, Metrics


def make_loss(config: RunConfig) -> LossFn:
    """The loss of `config.train.task`."""
    return {"autoencoder": _autoencoder_loss, "animate": _animate_loss}[config.train.task](config)


def _normal(keys: Array, shape: tuple[int, ...]) -> Array:
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def draw_timesteps(config: RunConfig, keys: Array) -> Int[Array, " b"]:
    """One timestep per key, as `config.train.timesteps` and `timestep_shift` say."""
    count, shift = config.schedule.num_train_timesteps, config.train.timestep_shift
    if shift != 1:
        drawn = jax.vmap(jax.random.uniform)(keys)
        shifted = shift * drawn / (1 + (shift - 1) * drawn)
        return jnp.minimum(shifted * count, count - 1).astype(jnp.int32)
    levels = np.arange(count)
    if config.train.timesteps == "sampling":
        levels = ddim.timesteps(config.schedule, config.sampling.steps)
    return jax.vmap(lambda key: jax.random.choice(key, jnp.asarray(levels, jnp.int32)))(keys)


def _autoencoder_loss(config: RunConfig) -> LossFn:
    """Absolute and squared error of the reconstruction, and a light pull towards unit latents."""
    vae = Autoencoder(config.model.autoencoder, jnp.dtype(config.train.dtype))
    scaling_factor = config.model.autoencoder.scaling_factor

    def loss_fn(
        trainable: PyTree, frozen: PyTree, batch: Batch, keys: Array
    ) -> tuple[Array, Metrics]:
        del frozen
        pictures = to_unit(batch["target"][:, 0])
        mean, logvar = vae.encode_moments(trainable["vae"], pictures)
        latents = mean + jnp.exp(0.5 * logvar) * _normal(keys, mean.shape[1:])
        result = vae.decode(trainable["vae"], latents * scaling_factor)
        absolute = jnp.abs(result - pictures).mean()
        squared = jnp.square(result - pictures).mean()
        kl = 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar).mean()
        loss = absolute + squared + config.train.kl_weight * kl
        psnr = -10.0 * jnp.log10(squared / 4.0)
        return loss, {"psnr": psnr, "kl": kl, "latent_std": mean.std()}

    return loss_fn


def _animate_loss(config: RunConfig) -> LossFn:
    """The denoising loss of both stages (paper, section 3.3); a stage-1 clip has one frame."""
    train, model, schedule = config.train, config.model, config.schedule
    dtype = jnp.dtype(train.dtype)
    networks = animate_anyone.Networks.create(model, dtype=dtype, remat=train.remat)
    encode = _make_encode(config)

    def loss_fn(
        trainable: PyTree, frozen: PyTree, batch: Batch, keys: Array
    ) -> tuple[Array, Metrics]:
        params = {**frozen, **trainable}
        timestep_keys, noise_keys, dropout_keys, encode_keys = jax.vmap(
            lambda key: jax.random.split(key, 4), out_axes=1
        )(keys)

        mean, logvar, reference_mean, image_embeds = encode(params, batch)
        image_embeds = sharding.constrain(image_embeds, *sharding.TOKENS)
        latents = mean + jnp.exp(0.5 * logvar) * _normal(encode_keys, mean.shape[1:])
        latents = latents * model.autoencoder.scaling_factor
        latents = sharding.constrain(latents, *sharding.CLIP)
        if reference_mean is not None:
            reference_mean = reference_mean * model.autoencoder.scaling_factor
        pictures = None
        if model.reference.reads_picture:
            pictures = batch["reference"].astype(jnp.float32) / 255.0

        timesteps = draw_timesteps(config, timestep_keys)
        conditioned = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - train.condition_dropout))(
            dropout_keys
        )
        pose_pictures = batch["skeleton"].astype(jnp.float32) / 255.0

        def predict(noise_keys: Array) -> tuple[Array, Array]:
            """Clean latents predicted under one draw of noise, and the losses [b]."""
            noise = sharding.constrain(_normal(noise_keys, latents.shape[1:]), *sharding.CLIP)
            noisy_latents = add_noise(schedule, latents, noise, timesteps)
            prediction = animate_anyone.predict(
                networks,
                params,
                noisy_latents=noisy_latents,
                timesteps=timesteps,
                image_embeds=image_embeds,
                reference_latents=reference_mean,
                reference_pictures=pictures,
                pose_pictures=pose_pictures,
                condition_mask=conditioned,
            )
            clean, _ = clean_and_noise(schedule, prediction, noisy_latents, timesteps)
            return clean, diffusion_loss(
                schedule,
                prediction,
                latents,
                noise,
                timesteps,
                snr_gamma=train.snr_gamma,
                temporal_weight=train.temporal_weight,
            )

        clean, losses = predict(noise_keys)
        if train.consistency_weight > 0:
            other, other_losses = predict(jax.vmap(jax.random.fold_in, (0, None))(noise_keys, 1))
            leak = jnp.abs(clean - other).mean(tuple(range(1, clean.ndim)))
            losses = (losses + other_losses) / 2 + train.consistency_weight * leak
        return losses.mean(), _by_timestep(losses, timesteps, schedule.num_train_timesteps)

    return loss_fn


TIMESTEP_BUCKETS = 4
"""Equal parts of the noise schedule whose losses are logged apart."""


def _by_timestep(losses: Array, timesteps: Array, num_train_timesteps: int) -> Metrics:
    """Per bucket of timesteps the sum of its losses and the number of its examples, per example.

    Both are means over the batch, as all metrics are; their quotient is the bucket's mean loss.
    """
    bucket = timesteps * TIMESTEP_BUCKETS // num_train_timesteps
    member = (bucket[:, None] == jnp.arange(TIMESTEP_BUCKETS)[None]).astype(losses.dtype)
    return {"bucket_losses": (losses[:, None] * member).mean(0), "bucket_shares": member.mean(0)}


def _make_encode(
    config: RunConfig,
) -> Callable[[PyTree, Batch], tuple[Array, Array, Array | None, Array]]:
    """`encode(params, batch)`: what VAE and image encoder make of a batch, now or beforehand.

    Returns:
      Mean and log-variance of the targets' unscaled latents [b, t, h, w, c], mean of the
      reference's [b, h, w, c] or None where the model does not read them, and the reference's image
      embeddings [b, s, d], zeros where the model has none; all float32.
    """
    model, dtype = config.model, jnp.dtype(config.train.dtype)
    vae = Autoencoder(model.autoencoder, dtype)
    image_encoder = ImageEncoder.of(model, dtype)

    def embed(params: PyTree, batch: Batch) -> Array:
        if not model.reference.has_embedding:
            return no_embeds(model.image_encoder, len(batch["example_id"]))
        if "image_embeds" in batch:
            return batch["image_embeds"].astype(jnp.float32)
        return image_encoder.encode(params["image_encoder"], batch["clip_pixels"])

    def encode_reference(params: PyTree, batch: Batch) -> Array | None:
        if not model.reference.reads_latents:
            return None
        if "reference_moments" in batch:
            moments = batch["reference_moments"].astype(jnp.float32)
            return jnp.split(moments, 2, axis=-1)[0]
        return vae.encode_moments_in_chunks(params["vae"], to_unit(batch["reference"]))[0]

    def encode(params: PyTree, batch: Batch) -> tuple[Array, Array, Array | None, Array]:
        if "target_moments" in batch:
            moments = batch["target_moments"].astype(jnp.float32)
            mean, logvar = jnp.split(moments, 2, axis=-1)
            return mean, logvar, encode_reference(params, batch), embed(params, batch)
        frames = rearrange(to_unit(batch["target"]), "b t h w c -> (b t) h w c")
        moments = vae.encode_moments_in_chunks(params["vae"], frames)
        b = len(batch["target"])
        mean, logvar = (rearrange(x, "(b t) h w c -> b t h w c", b=b) for x in moments)
        return mean, logvar, encode_reference(params, batch), embed(params, batch)

    return encode
