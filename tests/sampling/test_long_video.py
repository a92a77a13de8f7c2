"""Long videos: windows on one device or several add up to what a plain loop over them gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE

from aa_jax.config import ConfigError
from aa_jax.diffusion import ddim, samplers
from aa_jax.media.pictures import resize
from aa_jax.models.image_encoder import preprocess
from aa_jax.sampling import long_video
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Conditions, Pipeline, SamplingError
from aa_jax.sampling.resume import StateFile
from aa_jax.sampling.windows import METHODS, Windows

PIPELINE = Pipeline(MODEL, SCHEDULE)
STEPS = 3
WINDOWS = Windows(frames=4, overlap=2)


@pytest.fixture(scope="module")
def long_skeletons():
    """Eleven frames, not square."""
    return np.random.default_rng(2).integers(0, 256, (11, 16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def noise():
    return long_video.initial_noise(PIPELINE, 0, 11, 16, 24, chunk=4)


def ddim_loop(predict, latents, steps=STEPS):
    """Latents after every step of a plain loop."""
    times = ddim.timesteps(SCHEDULE, steps), ddim.previous_timesteps(SCHEDULE, steps)
    for i, (now, then) in enumerate(zip(*times, strict=True)):
        latents, _ = ddim.ddim_step(SCHEDULE, predict(i, latents, now), latents, now, then)
        yield np.asarray(latents)


# --- the driver, with a model that sees every frame alone ----------------------------------------


def frame_alone(latents, skeletons):
    return 0.5 * latents + skeletons.astype(np.float32).mean((-3, -2, -1), keepdims=True) / 255


@pytest.fixture
def frame_model(monkeypatch):
    """Replaces the networks; windows then cannot matter."""

    def predict(pipeline, guided, mesh, *inputs):
        *_, latents, skeletons, _, _ = (np.asarray(x) if hasattr(x, "shape") else x for x in inputs)
        predict.shapes.add(latents.shape)
        return frame_alone(latents, skeletons)

    predict.shapes = set()
    monkeypatch.setattr(long_video, "_predict_windows", predict)
    return predict


def denoise(skeletons, noise, devices=1, **settings):
    """Latents after every step."""
    defaults = {"windows": WINDOWS, "steps": STEPS, "guidance_scale": 1.0}
    steps = long_video.denoise(
        PIPELINE, {}, np.zeros((1, 1, 16)), {}, skeletons, noise,
        devices=jax.devices()[:devices], **(defaults | settings),
    )  # fmt: skip
    return [step.latents.copy() for step in steps]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("devices", [1, 3])
def test_windows_of_independent_frames_change_nothing(
    method, devices, frame_model, long_skeletons, noise
):
    windows = Windows(method=method, frames=4, overlap=2)
    steps = denoise(long_skeletons, noise, devices, windows=windows)

    expected = ddim_loop(lambda i, x, now: frame_alone(x, long_skeletons), noise)
    np.testing.assert_allclose(steps, list(expected), rtol=1e-5, atol=1e-5)
    # one shape for every step and length
    denoise(long_skeletons[:7], noise[:7], devices, windows=windows)
    assert frame_model.shapes == {(devices, 4, 8, 12, 4)}


def test_what_it_starts_from_stays_as_it_is(frame_model, long_skeletons, noise):
    before = noise.copy()
    first = denoise(long_skeletons, noise)
    np.testing.assert_array_equal(noise, before)
    np.testing.assert_array_equal(denoise(long_skeletons, noise), first)


def test_steps_can_begin_anywhere(frame_model, long_skeletons, noise):
    whole = denoise(long_skeletons, noise, eta=0.5, seed=3)
    rest = denoise(long_skeletons, whole[0], first_step=1, eta=0.5, seed=3)
    np.testing.assert_array_equal(rest, whole[1:])


@pytest.mark.parametrize("name", samplers.NAMES)
def test_every_sampler_is_its_own_loop(name, frame_model, long_skeletons, noise):
    # given a plain loop over the whole video
    sampler, expected = samplers.Sampler(name, SCHEDULE), []
    state = sampler.start(noise)
    for row in samplers.rows(sampler.plan(4)):
        state = sampler.advance(state, frame_alone(state.latents, long_skeletons), row)
        expected.append(np.asarray(state.latents))

    # then that in windows is the same, and may begin anywhere with what the sampler remembers
    settings = {"windows": WINDOWS, "steps": 4, "guidance_scale": 1.0, "sampler": name}
    inputs = PIPELINE, {}, np.zeros((1, 1, 16)), {}, long_skeletons
    states = [
        jax.tree.map(np.copy, step.state)
        for step in long_video.denoise(*inputs, noise, devices=jax.devices()[:1], **settings)
    ]
    np.testing.assert_allclose([x.latents for x in states], expected, rtol=1e-5, atol=1e-5)
    rest = long_video.denoise(
        *inputs, *states[1], first_step=2, devices=jax.devices()[:1], **settings
    )
    for step, state in zip(rest, states[2:], strict=True):
        np.testing.assert_array_equal(step.latents, state.latents)


def test_features_are_not_cached_from_window_to_window(params, reference, long_skeletons):
    with pytest.raises(SamplingError, match="needs a video of one window, at most 4 frames"):
        next(
            long_video.animate(
                PIPELINE, params, reference, long_skeletons,
                windows=WINDOWS, steps=STEPS, guidance_scale=1.0, feature_cache_interval=2,
            )
        )  # fmt: skip


def test_eta_draws_the_noise_of_frames_not_of_chunks(frame_model, long_skeletons, noise):
    small, large = (
        denoise(long_skeletons, noise, eta=1.0, windows=Windows(frames=n, overlap=2))
        for n in (4, 6)
    )
    np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-5)
    other = denoise(long_skeletons, noise, eta=1.0, seed=1)
    assert np.abs(small[0] - other[0]).max() > 0.1


def test_predictions_are_averaged_or_summed(frame_model, long_skeletons, noise):
    def prediction(average):
        whole = np.zeros_like(noise)

        def observe(step, frames, some):
            if step == 0:
                assert not whole[frames].any()  # every frame once
                whole[frames] = some

        windows = Windows(method="uniform", frames=4, overlap=2, average=average)
        denoise(long_skeletons, noise, windows=windows, observe=observe)
        return whole

    # windows of four frames at 0, 2, ... 10; the last two come round to the start
    visits = np.asarray([3, 2, 3, *[2] * 8])[:, None, None, None]
    expected = np.broadcast_to(visits, noise.shape)
    np.testing.assert_allclose(prediction(False) / prediction(True), expected, rtol=1e-4)


def test_noise_of_a_frame_depends_on_seed_and_index_alone(noise):
    np.testing.assert_array_equal(noise, PIPELINE.noise(0, 11, 16, 24))
    np.testing.assert_array_equal(
        noise[:7], long_video.initial_noise(PIPELINE, 0, 7, 16, 24, chunk=6)
    )


# --- the model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoded(params, reference):
    size = MODEL.image_encoder.image_size
    return pipeline_lib.encode_reference(
        PIPELINE, params, resize(reference, 24, 16)[None], preprocess(reference, size)[None]
    )


def test_windows_on_two_devices_are_a_plain_loop(params, encoded, long_skeletons, noise):
    # given a loop over single windows with the short clips' predictor
    @jax.jit
    def predict(latents, skeletons, timestep):
        pose = pipeline_lib.encode_skeletons(PIPELINE, params, skeletons[None])
        conditions = Conditions(*encoded, pose)
        guided = pipeline_lib.predictor(PIPELINE, params, conditions, jnp.float32(3.5))
        return guided(latents[None], timestep)[0]

    def over_windows(i, latents, now):
        total = np.zeros_like(latents)
        plan = WINDOWS.plan(11, step=i, steps=STEPS)
        for frames, weights in zip(*plan, strict=True):
            new = np.asarray(predict(latents[frames], long_skeletons[frames], np.int32(now)))
            total[frames] += weights[:, None, None, None] * new
        return total

    expected = list(ddim_loop(over_windows, noise))

    # when windows are spread over two devices, two windows at a time
    steps = long_video.denoise(
        PIPELINE, params, *encoded, long_skeletons, noise,
        windows=WINDOWS, steps=STEPS, guidance_scale=3.5, devices=jax.devices()[:2],
    )  # fmt: skip

    # then every step is the same, and another length needs no other program
    for step, latents in zip(steps, expected, strict=True):
        np.testing.assert_allclose(step.latents, latents, rtol=0, atol=1e-4 * np.abs(latents).max())
    programs = long_video._predict_windows._cache_size(), long_video._advance._cache_size()
    shorter = long_video.denoise(
        PIPELINE, params, *encoded, long_skeletons[:7], noise[:7].copy(),
        windows=WINDOWS, steps=2, guidance_scale=2.0, devices=jax.devices()[:2],
    )  # fmt: skip
    assert next(iter(shorter)).latents.shape == noise[:7].shape
    assert programs == (
        long_video._predict_windows._cache_size(), long_video._advance._cache_size()
    )  # fmt: skip


def test_video_of_one_window_is_sampled_in_one_piece(params, reference, skeletons):
    settings = {"steps": STEPS, "guidance_scale": 1}
    (chunk,) = long_video.animate(
        PIPELINE, params, reference, skeletons, windows=WINDOWS, **settings
    )
    expected = PIPELINE.animate(params, reference, skeletons, **settings)
    np.testing.assert_array_equal(chunk, expected)


@pytest.mark.parametrize("sampler", samplers.NAMES)
def test_interrupted_video_goes_on_from_its_last_step(
    sampler, frame_model, params, reference, long_skeletons, tmp_path
):
    def animate(state, report=lambda line: None):
        chunks = long_video.animate(
            PIPELINE, params, reference, long_skeletons,
            windows=WINDOWS, steps=STEPS, guidance_scale=1.0, state=state, report=report,
            devices=jax.devices()[:1], sampler=sampler,
        )  # fmt: skip
        return np.concatenate(list(chunks))

    class Killed(StateFile):
        def save(self, done, state):
            super().save(done, state)
            if done == 2:
                raise KeyboardInterrupt

    # given a video killed after two of three steps
    path, lines = tmp_path / "state.npz", []
    expected = animate(None)
    with pytest.raises(KeyboardInterrupt):
        animate(Killed(path, {"seed": 0}))

    # when it goes on, then only the last step is run, and the frames are the same
    frames = animate(StateFile(path, {"seed": 0}), lines.append)
    np.testing.assert_array_equal(frames, expected)
    assert frames.shape == long_skeletons.shape
    assert lines[1] == "denoising 11 frames in 3 steps from step 3 (5 windows)"


def test_impossible_sizes_are_refused_before_any_work(params, reference, long_skeletons):
    with pytest.raises(ConfigError, match="width 23 is no multiple of the VAE factor 2"):
        next(
            long_video.animate(
                PIPELINE, params, reference, long_skeletons[:, :, 1:],
                windows=WINDOWS, steps=STEPS, guidance_scale=1.0,
            )
        )  # fmt: skip
