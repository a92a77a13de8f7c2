"""PyTorch's side of the benchmarks computes what ours does, in float32.

With diffusers 0.39 and transformers 4.57, in the graph of MooreThreads/Moore-AnimateAnyone. 1e-3 of
the largest value is asked for; orders of summation differ through the depth of two UNets.
"""

import jax
import numpy as np
import pytest
import torch

from aa_jax.sampling.pipeline import Pipeline
from aa_jax.training import partitioning, program
from benchmarks import torch_reference, workloads

TINY = workloads.WORKLOADS["tiny"]
(SIZE,) = TINY.sizes


@pytest.fixture(scope="module")
def params():
    return workloads.params(TINY.model)


@pytest.fixture(scope="module")
def theirs(params):
    return torch_reference.Model(TINY.model, params, workloads.SCHEDULE)


@pytest.fixture(scope="module")
def ours():
    return Pipeline(TINY.model, workloads.SCHEDULE)


def assert_near(actual, expected, tolerance=1e-3):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def test_a_guided_sampling_step_agrees(ours, theirs, params):
    noise = workloads.latents(TINY, SIZE, TINY.frames)
    pictures = workloads.pictures(TINY, SIZE, TINY.frames)
    settings = {"steps": 1, "guidance_scale": workloads.GUIDANCE_SCALE}

    conditions, conditions_there = ours.encode(params, **pictures), theirs.encode(**pictures)
    result = ours.denoise(params, conditions, noise, **settings)
    result_there = theirs.denoise(conditions_there, noise, **settings)

    assert_near(conditions.image_embeds, conditions_there.context[1:])
    assert_near(result, result_there.movedim(2, -1))


@pytest.mark.parametrize(
    "changed", ["reference_unet", "denoising_unet", "motion_module", "pose_guider", "image_encoder"]
)
def test_every_network_matters_to_the_sampling_step(theirs, params, changed):
    # Otherwise agreement would say nothing about it.
    noise = workloads.latents(TINY, SIZE, TINY.frames)
    pictures = workloads.pictures(TINY, SIZE, TINY.frames)
    other = {**params, changed: jax.tree.map(lambda x: np.float32(0.9) * x, params[changed])}

    def step(model):
        return model.denoise(model.encode(**pictures), noise, steps=1, guidance_scale=3.5).numpy()

    expected = step(theirs)
    changed = step(torch_reference.Model(TINY.model, other, workloads.SCHEDULE))
    assert np.abs(changed - expected).max() > 1e-2 * np.abs(expected).max()


def test_decoded_pictures_agree(ours, theirs, params):
    latents = workloads.latents(TINY, SIZE, TINY.frames)[0]
    pictures = np.concatenate(list(ours.decode(params, latents))).astype(int)
    pictures_there = theirs.decode(torch.from_numpy(latents).movedim(-1, 1)).astype(int)
    assert np.abs(pictures - pictures_there).max() <= 1  # of 255, where rounding meets a half
    assert pictures.std() > 10


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_losses_and_gradient_norms_of_training_agree(stage):
    config = workloads.run_config(TINY, stage, SIZE)
    params = workloads.params(config.model, workloads.networks_of(config))
    batch = workloads.batch(config)
    trainer = torch_reference.Trainer(
        torch_reference.Model(config.model, params, config.schedule), config.train
    )

    loss_there, norm_there = trainer.step(batch, workloads.draws(config, batch["example_id"]))

    rules = partitioning.make_partitioning(config)
    trainable, frozen = program.split(config, params)
    state = program.initial_state(config, rules, trainable)
    placed = rules.place_batch(batch, config.train.batch_size)
    new_state, metrics = program.TrainProgram(config, rules)(
        state, rules.place_params(frozen), placed
    )
    assert_near(metrics["loss"], loss_there)
    assert_near(metrics["grad_norm"], norm_there)
    assert sum(x.numel() for x in trainer.trainable) == sum(
        x.size for x in jax.tree.leaves(new_state.params)
    )


def test_a_missing_parameter_is_told(params):
    incomplete = {"pose_guider": {"conv_in": params["pose_guider"]["conv_in"]}}
    with pytest.raises(ValueError, match=r"PoseGuider: missing \['blocks\.0\.weight'"):
        torch_reference.Model(TINY.model, incomplete, workloads.SCHEDULE)
