"""Videos of any length: windows of frames denoised together, with constant device memory.

    windows = Windows.for_weights(config.sampling, config.model)
    for frames in long_video.animate(pipeline, params, picture, skeletons, windows=windows, ...):
        ...                                                   # uint8 [some, h, w, 3], in order

One compiled step of fixed shape, [one window per device, t frames], is driven from the host over
timesteps and windows. Latents and what the sampler remembers live on the host, and so does the sum
of the windows' predictions of a frame, until the last of its windows is done; skeletons are encoded
once if a file can keep their features, otherwise window by window in every step; frames are decoded
as they are asked for. So nothing compiled and nothing on the device grows with the video.
Windows are spread over the devices of a mesh with one axis, `context`.
"""

from __future__ import annotations

import functools
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int, PyTree, UInt8

from aa_jax.diffusion import samplers
from aa_jax.diffusion.samplers import Sampler, State
from aa_jax.media.pictures import resize
from aa_jax.models.image_encoder import preprocess
from aa_jax.models.reference import Encoded
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pace import Pace
from aa_jax.sampling.pipeline import Conditions, Pipeline, SamplingError
from aa_jax.sampling.pose_features import PoseFeatures, Skeletons, encode_poses
from aa_jax.sampling.resume import StateFile
from aa_jax.sampling.windows import Plan, Windows, chunks

Frames = Int[np.ndarray, " t"]
Latents = Float[np.ndarray, "t h w c"]


class Step(NamedTuple):
    """The video after a denoising step.

    Attributes:
      index: of the step, from 0.
      state: latents [t, h, w, c] and what the sampler remembers; the next step changes them in
        place.
    """

    index: int
    state: State

    @property
    def latents(self) -> Latents:
        """Those of the state."""
        return self.state.latents


def animate(
    pipeline: Pipeline,
    params: PyTree,
    reference: UInt8[np.ndarray, "y x 3"],
    skeletons: Skeletons,
    *,
    windows: Windows,
    steps: int,
    guidance_scale: float,
    seed: int = 0,
    sampler: samplers.Name = "ddim",
    eta: float = 0.0,
    feature_cache_interval: int = 1,
    state: StateFile | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: bool = False,
    report: Callable[[str], None] = lambda phase: None,
) -> Iterator[UInt8[np.ndarray, "some h w 3"]]:
    """Animates one picture, yielding frames in order as they are decoded.

    A video that fits one window is sampled in one piece, as `Pipeline.animate` does.

    Args:
      pipeline: of the model.
      params: parameter trees by network name.
      reference: the character, of any size.
      skeletons: one skeleton picture per frame, of the video's size.
      windows: how the video is cut.
      steps: denoising steps.
      guidance_scale: of classifier-free guidance; at 1 or less there is none.
      seed: names the noise; that of a frame depends on seed and frame index alone.
      sampler: see `aa_jax.diffusion.samplers`.
      eta: see `Pipeline.animate_batch`.
      feature_cache_interval: see `Pipeline.denoise`; of videos that fit one window.
      state: where latents and sampler are kept after every step, and gone on from if they are
        there.
      devices: that share the windows; by default all of this process.
      progress: show a bar.
      report: called with a line of text at the start of each phase.

    Raises:
      ConfigError: a size or the number of steps is impossible.
      SamplingError: features cannot be cached in a video of several windows.
    """
    frames, height, width = skeletons.shape[:3]
    pipeline.check(height=height, width=width, steps=steps, sampler=sampler)
    settings = {
        "steps": steps, "guidance_scale": guidance_scale, "seed": seed, "sampler": sampler,
        "eta": eta,
    }  # fmt: skip
    if frames <= windows.frames:
        pictures = skeletons[np.arange(frames)]
        yield pipeline.animate(
            params,
            reference,
            pictures,
            feature_cache_interval=feature_cache_interval,
            report=report,
            **settings,
        )
        return
    check_feature_cache(frames, windows, feature_cache_interval)

    report(f"encoding the reference picture for {frames} frames")
    conditions = pipeline_lib.encode_reference(
        pipeline,
        params,
        resize(reference, width, height)[None],
        preprocess(reference, pipeline.model.image_encoder.image_size)[None],
    )
    poses = encode_poses(pipeline, params, skeletons, chunk=windows.frames)
    done, latest = (state.load() if state else None) or (
        0,
        State(initial_noise(pipeline, seed, frames, height, width, chunk=windows.frames)),
    )
    count = sum(len(windows.plan(frames, step=i, steps=steps).frames) for i in range(done, steps))
    first = f"from step {done + 1} " if done else ""
    report(f"denoising {frames} frames in {steps} steps {first}({count} windows)")
    pace = Pace(steps - done)
    for step in denoise_in_place(
        pipeline, params, *conditions, poses, *latest,
        windows=windows, first_step=done, devices=devices, progress=progress,
        observe=pace.observe, **settings,
    ):  # fmt: skip
        latest = step.state
        if step.index == done and (estimate := pace.left()):
            report(f"step {done + 1} of {steps} is done; {estimate} of denoising left")
        if state:
            state.save(step.index + 1, latest)
    report(f"decoding {frames} frames")
    yield from pipeline.decode(params, latest.latents)


def check_feature_cache(frames: int, windows: Windows, interval: int) -> None:
    """Raises `SamplingError` where deep features would have to be kept from step to step.

    Windows move from step to step, and what one of them left belongs to no other.
    """
    if interval > 1 and frames > windows.frames:
        raise SamplingError(
            f"feature_cache_interval={interval} needs a video of one window, at most "
            f"{windows.frames} frames; all {frames} frames go without it, the first ones with "
            f"--frames {windows.frames}"
        )


def initial_noise(
    pipeline: Pipeline, seed: int, frames: int, height: int, width: int, *, chunk: int
) -> Float[np.ndarray, "t h w c"]:
    """`Pipeline.noise` on the host, drawn `chunk` frames at a time."""
    noise = None
    for indices in chunks(np.arange(frames), chunk):
        drawn = np.asarray(pipeline.noise(seed, indices, height, width))
        if noise is None:
            noise = _room((frames, *drawn.shape[1:]), drawn.dtype)
        noise[indices] = drawn
    return noise


def _room(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array outside the heap, where it would fill the places of the programs' buffers."""
    room = mmap.mmap(-1, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.frombuffer(room, dtype).reshape(shape)


def denoise(
    pipeline: Pipeline,
    params: PyTree,
    image_embeds: Float[jax.Array, "1 s d"],
    reference: Encoded,
    poses: PoseFeatures | Skeletons,
    latents: Float[np.ndarray, "t h w c"],
    history: tuple[Float[np.ndarray, "t h w c"], ...] = (),
    **settings: Any,
) -> Iterator[Step]:
    """`denoise_in_place` on copies of latents and history, which stay as they are."""
    own = _room(latents.shape, latents.dtype)
    own[:] = latents
    history = jax.tree.map(np.array, history)
    return denoise_in_place(
        pipeline, params, image_embeds, reference, poses, own, history, **settings
    )


def denoise_in_place(
    pipeline: Pipeline,
    params: PyTree,
    image_embeds: Float[jax.Array, "1 s d"],
    reference: Encoded,
    poses: PoseFeatures | Skeletons,
    latents: Float[np.ndarray, "t h w c"],
    history: tuple[Float[np.ndarray, "t h w c"], ...] = (),
    *,
    windows: Windows,
    steps: int,
    guidance_scale: float,
    seed: int = 0,
    sampler: samplers.Name = "ddim",
    eta: float = 0.0,
    first_step: int = 0,
    devices: Sequence[jax.Device] | None = None,
    progress: bool = False,
    observe: Callable[[int, Frames, Latents], None] = lambda step, frames, prediction: None,
) -> Iterator[Step]:
    """Denoises a long video, yielding after every step.

    Args:
      pipeline: of the model.
      params: parameter trees by network name.
      image_embeds: the reference picture's embedding.
      reference: what the reference picture gives (`pipeline.encode_reference`).
      poses: features of skeleton pictures, or these.
      latents: before step `first_step`; writable, and changed to save memory.
      history: what the sampler remembers there, changed too; nothing before the first step.
      windows: how the video is cut.
      steps: in all.
      guidance_scale: at 1 or less there is no guidance.
      seed: names the fresh noise of `eta`.
      sampler: see `aa_jax.diffusion.samplers`.
      eta: see `Pipeline.animate_batch`.
      first_step: the step to begin with.
      devices: that share the windows; by default all of this process.
      progress: show a bar.
      observe: called with a step, some frames' indices, and what their windows predicted together.
    """
    from tqdm import tqdm

    predict = _predictor(
        pipeline, params, image_embeds, reference, guidance_scale, devices or jax.local_devices()
    )
    method = Sampler(sampler, pipeline.schedule, float(eta))
    rows = list(samplers.rows(method.plan(steps)))
    key = pipeline_lib.stream(seed, "ddim")
    state = State(latents, history or jax.tree.map(np.array, method.start(latents).history))
    plans = [windows.plan(len(latents), step=i, steps=steps) for i in range(steps)]
    total = sum(len(plan.frames) for plan in plans[first_step:])
    with tqdm(total=total, unit="window", disable=not progress, leave=False) as bar:
        for i in range(first_step, steps):
            bar.set_description(f"step {i + 1} of {steps}")
            advance = functools.partial(_advance, method, rows[i], jax.random.fold_in(key, i))
            now = rows[i].timestep
            for done, frames, prediction in predict(poses, latents, now, plans[i]):
                observe(i, frames, prediction)
                for part in chunks(np.arange(len(frames)), windows.frames):
                    some = frames[part]
                    new = advance(prediction[part], _frames_of(state, some), some)
                    for array, values in zip(*map(jax.tree.leaves, (state, new)), strict=True):
                        array[some] = values
                bar.update(done)
            yield Step(i, state)


def _frames_of(state: State, frames: Frames) -> State:
    return jax.tree.map(lambda x: x[frames], state)


def _predictor(
    pipeline: Pipeline,
    params: PyTree,
    image_embeds: jax.Array,
    reference: Encoded,
    guidance_scale: float,
    devices: Sequence[jax.Device],
) -> Callable[
    [PoseFeatures | Skeletons, Latents, Any, Plan], Iterator[tuple[int, Frames, Latents]]
]:
    """A function of one step that yields predictions of frames whose last window is done.

    It yields the number of windows done since, the frames' indices and their predictions. The
    latents of these frames are not read again and may be overwritten.
    """
    mesh = jax.make_mesh((len(devices),), ("context",), (AxisType.Auto,), devices=devices)
    everywhere, windowed = NamedSharding(mesh, P()), NamedSharding(mesh, P("context"))
    constant = jax.device_put((params, image_embeds, reference), everywhere)
    scale = np.float32(guidance_scale)

    def launch(poses, latents, timestep, plan: Plan) -> jax.Array:
        """Starts the denoising of at most one window per device."""
        missing = len(devices) - len(plan.frames)
        frames = np.pad(plan.frames, ((0, missing), (0, 0)), "edge")
        inputs = jax.device_put((latents[frames], poses[frames]), windowed)
        return _predict_windows(
            pipeline, guidance_scale > 1, mesh, *constant, *inputs, timestep, scale
        )

    def predict(poses, latents, timestep, plan: Plan):
        last_window = {frame: w for w, row in enumerate(plan.frames.tolist()) for frame in row}
        sums: dict[int, np.ndarray] = {}

        def add(start: int, part: Plan, predictions: jax.Array) -> tuple[int, Frames, Latents]:
            for frames, weights, new in zip(*part, np.asarray(predictions), strict=False):
                for frame, weight, row in zip(frames.tolist(), weights, new, strict=True):
                    sums[frame] = sums.get(frame, 0.0) + weight * row
            stop = start + len(part.frames)
            finished = [frame for frame in sorted(sums) if last_window[frame] < stop]
            complete = [sums.pop(frame) for frame in finished]
            empty = np.empty((0, *latents.shape[1:]), latents.dtype)
            return (
                stop - start,
                np.asarray(finished, int),
                np.stack(complete) if complete else empty,
            )

        running = None  # one launch ahead of the sums: the host works while the devices do
        for start in range(0, len(plan.frames), len(devices)):
            part = Plan(*(rows[start : start + len(devices)] for rows in plan))
            launched = start, part, launch(poses, latents, timestep, part)
            if running:
                yield add(*running)
            running = launched
        yield add(*running)

    return predict


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _predict_windows(
    pipeline: Pipeline,
    guided: bool,
    mesh: Mesh,
    params: PyTree,
    image_embeds: Any,
    reference: Encoded,
    latents: Any,
    poses: Any,
    timestep: Any,
    guidance_scale: Any,
) -> jax.Array:
    """Predictions [n, t, h, w, c] of n windows, each denoised whole on one device."""

    def local(params, image_embeds, reference, latents, poses, timestep, guidance_scale):
        if poses.dtype == jnp.uint8:  # still pictures
            poses = pipeline_lib.encode_skeletons(pipeline, params, poses)

        def repeated(x):
            return jnp.broadcast_to(x, (len(latents), *x.shape[1:]))

        conditions = Conditions(
            image_embeds=repeated(image_embeds),
            reference=jax.tree.map(repeated, reference),
            pose_features=poses,
        )
        scale = guidance_scale if guided else None
        return pipeline_lib.predictor(pipeline, params, conditions, scale)(latents, timestep)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(P(), P(), P(), P("context"), P("context"), P(), P()),
        out_specs=P("context"),
    )(params, image_embeds, reference, latents, poses, timestep, guidance_scale)


@functools.partial(jax.jit, static_argnums=0)
def _advance(sampler: Sampler, row: samplers.Plan, key, prediction, state: State, frames) -> State:
    """One step of some frames, whose indices name their fresh noise."""
    fresh = None
    if sampler.eta > 0:
        fresh = pipeline_lib.frame_noise(key, frames, state.latents.shape[1:])
    return sampler.advance(state, prediction, row, fresh)
