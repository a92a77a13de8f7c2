import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import MeshConfig, RunConfig, from_dict
from aa_jax.data import loader
from aa_jax.data.latent_cache import LatentCache
from aa_jax.training import chips, partitioning, plan


def test_the_plan_counts_what_the_run_allocates():
    config = tiny_config(ema_decay=0.9)
    made = plan.make_plan(config)
    params = weights.init_params(jax.random.key(0), config.model)
    for name, tree in params.items():
        assert made.parameters[name] == sum(x.size for x in jax.tree.leaves(tree))
    trainable = 4 * sum(made.parameters[name] for name in config.train.trainable)
    assert made.memory["gradients"] == made.memory["averaged parameters"] == trainable
    assert 2 * trainable <= made.memory["optimizer moments"] < 2 * trainable + 100


def test_flops_grow_with_the_batch_and_not_with_accumulation():
    one = plan.make_plan(tiny_config(batch_size=4)).flops
    two = plan.make_plan(tiny_config(batch_size=8)).flops
    accumulated = plan.make_plan(tiny_config(batch_size=8, accumulation_steps=2))
    assert two == pytest.approx(2 * one, rel=0.1)
    assert accumulated.flops == pytest.approx(two, rel=0.1)


def test_rematerialisation_keeps_less_and_computes_more():
    plans = {mode: plan.make_plan(tiny_config(remat=mode)) for mode in ("none", "blocks", "full")}
    kept = [plans[mode].memory["activations kept"] for mode in ("none", "blocks", "full")]
    flops = [plans[mode].flops for mode in ("none", "blocks", "full")]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 3
    assert flops == sorted(flops)


@pytest.mark.slow
def test_the_paper_s_stage_1_has_stable_diffusion_s_size():
    from configs import stage1

    config = from_dict(RunConfig, stage1.get_config().to_dict())
    made = plan.make_plan(config)
    assert round(made.parameters["denoising_unet"] / 1e6, 2) == 859.52
    assert "859.52 M" in plan.describe(config)


def test_describe_names_networks_flops_and_memory():
    config = dataclasses.replace(tiny_config(), name="small")
    text = plan.describe(config)
    for part in ("small: 4 steps", "denoising_unet", "FLOPs per step", "optimizer moments"):
        assert part in text


def test_what_a_run_cuts_is_told_before_it(tmp_path):
    assert "train.warmup_steps=9 is cut to the run's 4 steps" in plan.describe(
        tiny_config(warmup_steps=9)
    )


def latents(embeds):
    """Where they lie does not matter to a plan."""
    return LatentCache(pathlib.Path("DATA/latents/16x16"), "train", embeds)


def test_cached_latents_are_not_counted_as_encoded():
    """The VAE is gone from the step, and with embeddings the image encoder too."""
    flops = [
        plan.make_plan(tiny_config(), cache).flops
        for cache in (None, latents(embeds=False), latents(embeds=True))
    ]
    assert flops == sorted(flops, reverse=True)
    assert len(set(flops)) == 3


def test_a_batch_of_cached_latents_is_what_the_loader_gives(monkeypatch):
    """Names, shapes and types, of which the program is compiled."""
    config = tiny_config()
    cache = latents(embeds=True)
    channels = 2 * config.model.autoencoder.latent_channels

    def read(self, clip, frames):
        return (
            np.zeros((len(frames), 8, 8, channels), jax.numpy.bfloat16),
            np.zeros((len(frames), 8), jax.numpy.bfloat16),
        )

    monkeypatch.setattr(LatentCache, "read", read)
    (given,) = loader.batches(
        config.data,
        config.skeleton,
        config.model,
        batch_size=config.train.batch_size,
        first_step=0,
        last_step=1,
        latents=cache,
    )
    planned = plan.abstract_batch(config, cache)
    assert {name: (x.shape, x.dtype) for name, x in planned.items()} == {
        name: (x.shape, x.dtype) for name, x in given.items()
    }


def vae_run(**mesh):
    """The smallest program there is to compile."""
    config = tiny_config(task="autoencoder", trainable=("vae",), batch_size=8)
    return dataclasses.replace(config, mesh=MeshConfig(**mesh))


def test_a_plan_for_a_mesh_tells_what_each_device_does():
    plans = {
        n: plan.make_mesh_plan(config, partitioning.make_partitioning(config))
        for n, config in ((n, vae_run(data=n)) for n in (1, 4))
    }
    assert plans[4].flops == pytest.approx(plans[1].flops / 4)
    assert plans[1].collectives == ()
    gradients = 4 * plan.make_plan(vae_run()).parameters["vae"]
    (reduced,) = (c for c in plans[4].collectives if c.kind == "all-reduce")
    assert gradients <= reduced.bytes < gradients + 1000
    assert plans[4].memory["arguments"] < plans[1].memory["arguments"]  # a part of the batch
    seconds = [plans[4].step_seconds(chips.CHIPS[name]) for name in ("A100-40", "H100")]
    assert seconds[0] > seconds[1] > 0


def test_describe_prints_table_exchanges_and_chips_of_a_mesh():
    text = plan.describe(vae_run(data=2, fsdp=2), compiled=True)
    for part in (
        "bytes per device",
        "vae.encoder.conv_in.kernel",
        "mesh data=2,fsdp=2,context=1: 4 devices",
        "all-reduce",
        "A100-80",
        "s per step, fits",
    ):
        assert part in text, part
