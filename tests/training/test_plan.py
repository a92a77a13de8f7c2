import dataclasses

import jax
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import RunConfig, from_dict
from aa_jax.training import plan


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
