"""What the exact algebra of the models saves, counted in floating-point operations.

    python benchmarks/flops.py
    python benchmarks/flops.py --sizes 512 --frames 24 --json flops.json
    python benchmarks/flops.py --width 64 --sizes 128 --frames 4        # narrower, in seconds

One guided sampling step is traced three times with abstract arrays and its products and
convolutions are counted: as it is here; as the plain graph, without the algebra; and as the graph
of the public PyTorch implementation (Moore-AnimateAnyone). The same follows with one shortcut
switched off at a time, for single forward passes, for the baseline SD-I2V, and for training steps.
Nothing is compiled, and there are no weights. All three graphs compute the same prediction.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax import linen as nn

from aa_jax import weights
from aa_jax.config import ModelConfig, MotionModuleConfig, RunConfig, UNetConfig, default_config
from aa_jax.config import from_dict as config_from_dict
from aa_jax.models import animate_anyone, attention, transformer
from aa_jax.models.autoencoder import Autoencoder
from aa_jax.training import losses, plan
from benchmarks import flops_baseline
from benchmarks.flops_counting import GUIDANCE_SCALE, counted


@dataclasses.dataclass(frozen=True)
class Graph:
    """Which shortcuts a guided sampling step takes; all are exact.

    Attributes:
      one_key: no queries and keys of cross-attention to the one token of the image embedding.
      keys_once: the reference's keys and values are projected once per video, not per frame and
        step.
      unconditional: how the unconditional half of the batch goes without the reference: `split` off
        for attention; `masked`, attending to it with weight zero; or `twice`, attending with it as
        the whole batch does, and then again without.
    """

    one_key: bool = True
    keys_once: bool = True
    unconditional: Literal["split", "masked", "twice"] = "split"


OURS = Graph()
PLAIN = Graph(one_key=False, keys_once=False, unconditional="masked")
MOORE = Graph(one_key=False, keys_once=False, unconditional="twice")
GRAPHS = {"ours": OURS, "plain": PLAIN, "moore": MOORE}
SHORTCUTS = {
    "cross-attention to one key": Graph(one_key=False),
    "reference projected once": Graph(keys_once=False),
    "unconditional half split off": Graph(unconditional="masked"),
}
"""Graphs without one shortcut each."""


# --- the graphs ---------------------------------------------------------------------------------


class BankAttention(nn.Module):
    """`SelfAttention` of spatial transformers that projects the reference's tokens itself.

    Attributes:
      twice: samples without a reference attend to that of the others, and then again without.
    """

    num_heads: int
    dtype: Any = jnp.float32
    twice: bool = False

    @nn.compact
    def __call__(self, x, reference=None, reference_mask=None):
        """Tokens [b g s c] attend to themselves, the last r samples also to a bank [r s c]."""
        channels, (own, frames) = x.shape[-1], (x.shape[2], x.shape[1])
        to_q, to_k, to_v = (
            nn.Dense(channels, use_bias=False, dtype=self.dtype, name=name)
            for name in ("to_q", "to_k", "to_v")
        )
        to_out = nn.Dense(channels, dtype=self.dtype, name="to_out_0")

        def attend(queries, tokens, key_lengths=None):
            q, k, v = (
                rearrange(y, "b g s (n d) -> (b g) s n d", n=self.num_heads)
                for y in (to_q(queries), to_k(tokens), to_v(tokens))
            )
            out = attention.attention(q, k, v, key_lengths=key_lengths)
            return to_out(rearrange(out, "(b g) s n d -> b g s (n d)", g=frames))

        if reference is None:
            return attend(x, x)
        bank = repeat(reference, "r s c -> r g s c", g=frames)
        plain = x.shape[0] - bank.shape[0]
        if self.twice:
            bank = jnp.concatenate([bank[:plain], bank])
            seen = attend(x, jnp.concatenate([x, bank], axis=2))[plain:]
        else:
            lengths = None
            if reference_mask is not None:
                seen_keys = jnp.where(reference_mask, own + bank.shape[2], own)
                lengths = repeat(seen_keys, "b -> (b g)", g=frames)
            seen = attend(x[plain:], jnp.concatenate([x[plain:], bank], axis=2), lengths)
        return jnp.concatenate([attend(x[:plain], x[:plain]), seen]) if plain else seen


@contextlib.contextmanager
def attention_of(graph: Graph) -> Iterator[None]:
    """Builds spatial transformers with a graph's reference attention."""
    if graph.keys_once:
        yield
        return
    bank = functools.partial(BankAttention, twice=graph.unconditional == "twice")
    with mock.patch.object(transformer, "SelfAttention", bank):
        yield


def networks_of(model: ModelConfig, graph: Graph) -> animate_anyone.Networks:
    """The networks with a graph's cross-attention."""
    made = animate_anyone.Networks.create(model)
    unet = made.denoising_unet.clone(single_token_shortcut=graph.one_key)
    return dataclasses.replace(made, denoising_unet=unet)


def guided_step(model: ModelConfig, graph: Graph) -> Callable[..., Any]:
    """(params, `step_inputs`) -> the guided prediction of one sampling step.

    That of `OURS` is the code that samples, and takes `deep` and `return_deep` as well.
    """
    networks = networks_of(model, graph)

    def ours(params: Any, inputs: StepInputs, **deep_features: Any) -> Any:
        return animate_anyone.predict_guided(
            networks,
            params,
            noisy_latents=inputs.latents,
            timesteps=inputs.timesteps,
            image_embeds=inputs.image_embeds,
            reference=inputs.keys_values,
            pose_features=inputs.pose_features,
            guidance_scale=GUIDANCE_SCALE,
            **deep_features,
        )

    def twice(x: Any) -> Any:
        return jax.tree.map(lambda x: jnp.concatenate([x, x]), x)

    def other(params: Any, inputs: StepInputs) -> Any:
        reference = inputs.keys_values if graph.keys_once else inputs.tokens
        masked = graph.unconditional == "masked"
        with attention_of(graph):
            both = networks.denoising_unet.apply(
                {"params": animate_anyone.denoising_params(params)},
                twice(inputs.latents),
                twice(inputs.timesteps),
                jnp.concatenate([jnp.zeros_like(inputs.image_embeds), inputs.image_embeds]),
                pose_features=twice(inputs.pose_features),
                reference=twice(reference) if masked else reference,
                reference_mask=jnp.asarray([False, True]) if masked else None,
            )
        unconditional, conditional = jnp.split(both, 2)
        return unconditional + GUIDANCE_SCALE * (conditional - unconditional)

    return ours if graph == OURS else other


class StepInputs(NamedTuple):
    """What one step reads: a clip [1 t h w c], and what was encoded before the first step.

    The reference picture is there twice: as tokens by transformer block, and as keys and values
    projected from them.
    """

    latents: Any
    timesteps: Any
    image_embeds: Any
    pose_features: Any
    tokens: Any
    keys_values: Any


def step_inputs(
    model: ModelConfig, params: Any, *, size: int, frames: int, key: Any = None
) -> StepInputs:
    """Random inputs of a step for square frames; under `jax.eval_shape` without numbers."""
    side = size // model.autoencoder.downscale_factor
    unet = model.unet
    keys = jax.random.split(jax.random.key(0) if key is None else key, 4)
    latents = jax.random.normal(keys[0], (1, frames, side, side, unet.in_channels))
    embeds = jax.random.normal(keys[1], (1, 1, unet.cross_attention_dim))
    pose = jax.random.normal(keys[2], (1, frames, side, side, unet.block_out_channels[0]))
    picture = jax.random.normal(keys[3], (1, side, side, unet.in_channels))
    networks = networks_of(model, OURS)
    tokens = networks.reference_unet.apply({"params": params["reference_unet"]}, picture, embeds)
    keys_values = animate_anyone.encode_reference(networks, params, picture, embeds)
    return StepInputs(latents, jnp.full(1, 500), embeds, pose, tokens, keys_values)


# --- counting -----------------------------------------------------------------------------------


def count_steps(model: ModelConfig, *, size: int, frames: int) -> dict[str, Any]:
    """FLOPs of one guided step of every graph, and what each shortcut saves."""
    params = weights.abstract_params(model)
    inputs = jax.eval_shape(lambda p: step_inputs(model, p, size=size, frames=frames), params)

    def of(graph: Graph) -> float:
        return counted(guided_step(model, graph), params, inputs)

    counts = {name: of(graph) for name, graph in GRAPHS.items()}
    ours = counts["ours"]
    return {
        "size": size,
        "frames": frames,
        **counts,
        "plain_over_ours": counts["plain"] / ours,
        "moore_over_ours": counts["moore"] / ours,
        "without": {name: of(graph) / ours for name, graph in SHORTCUTS.items()},
        "features_cached": _count_shallow(model, params, inputs) / ours,
    }


def _count_shallow(model: ModelConfig, params: Any, inputs: StepInputs) -> float:
    """FLOPs of a guided step between two whole ones, by feature caching: no exact algebra."""

    step = guided_step(model, OURS)
    _, deep = jax.eval_shape(functools.partial(step, return_deep=True), params, inputs)
    return counted(lambda *args: step(*args[:2], deep=args[2]), params, inputs, deep)


def count_forwards(model: ModelConfig, *, size: int, frames: int) -> dict[str, float]:
    """FLOPs of single passes, per frame."""
    params = weights.abstract_params(model)
    inputs = jax.eval_shape(lambda p: step_inputs(model, p, size=size, frames=frames), params)
    still = dataclasses.replace(
        model, motion_module=dataclasses.replace(model.motion_module, enabled=False)
    )

    def unet(model: ModelConfig, referenced: bool) -> float:
        networks = networks_of(model, OURS)
        trees = params if model.motion_module.enabled else params | {"motion_module": None}

        def forward(params: Any, inputs: StepInputs) -> Any:
            return networks.denoising_unet.apply(
                {"params": animate_anyone.denoising_params(params)},
                inputs.latents,
                inputs.timesteps,
                inputs.image_embeds,
                pose_features=inputs.pose_features,
                reference=inputs.keys_values if referenced else None,
            )

        return counted(forward, trees, inputs) / frames

    vae = Autoencoder(model.autoencoder, jnp.float32)
    picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    latents = jax.ShapeDtypeStruct((1, *inputs.latents.shape[2:]), jnp.float32)
    return {
        "UNet": unet(still, False),
        "UNet with reference keys": unet(still, True),
        "UNet with reference keys and motion modules": unet(model, True),
        "VAE encoder": counted(vae.encode, params["vae"], picture),
        "VAE decoder": counted(vae.decode, params["vae"], latents),
    }


def count_training(model: ModelConfig, *, size: int, frames: int) -> dict[str, dict[str, float]]:
    """FLOPs of loss and gradients of one example, and how many times that without a shortcut."""

    class Cached(NamedTuple):
        """Says that latents and image embeddings come with the batch."""

        embeds: bool = True

    def gradients(trainable: tuple[str, ...], frames: int, latents: Cached | None) -> float:
        config = default_config("flops")
        config.model = _to_config_dict(model)
        config.model.motion_module.enabled = frames > 1
        config.data.update(width=size, height=size, frames=frames)
        config.train.update(batch_size=1, trainable=trainable)
        run = config_from_dict(RunConfig, config.to_dict())
        params, frozen, batch = plan.abstract_inputs(run, latents)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        grad = jax.value_and_grad(losses.make_loss(run), has_aux=True)
        return counted(grad, params, frozen, batch, keys)

    spatial = ("reference_unet", "denoising_unet", "pose_guider")
    stage1, stage2 = (
        gradients(spatial, 1, Cached()),
        gradients(("motion_module",), frames, Cached()),
    )
    return {
        "stage 1": {
            "flops": stage1,
            "without cached latents": gradients(spatial, 1, None) / stage1,
        },
        "stage 2": {
            "flops": stage2,
            "without cached latents": gradients(("motion_module",), frames, None) / stage2,
            "all networks differentiated": gradients((*spatial, "motion_module"), frames, Cached())
            / stage2,
        },
    }


def _to_config_dict(model: ModelConfig) -> Any:
    from ml_collections import ConfigDict

    return ConfigDict(dataclasses.asdict(model))


def make_model(width: int) -> ModelConfig:
    """Stable Diffusion 1.5's architecture, or one `width` / 320 times as wide."""
    if width == 320:
        return ModelConfig()
    groups = 32 if width % 32 == 0 else 8
    return ModelConfig(
        unet=UNetConfig(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width), norm_num_groups=groups
        ),
        motion_module=MotionModuleConfig(norm_num_groups=groups),
    )


# --- command line -------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(argv)
    model = make_model(flags.width)
    figures: dict[str, Any] = {"width": flags.width, "frames": flags.frames, "sizes": []}
    print(f"one guided sampling step, {flags.frames} frames, TFLOP per frame of both halves")
    print(
        f"{'size':>5} {'ours':>7} {'plain':>7} {'Moore':>7} {'plain/ours':>11} {'Moore/ours':>11}"
    )
    for size in flags.sizes:
        row = count_steps(model, size=size, frames=flags.frames)
        figures["sizes"].append(row)
        tera = "".join(f"{row[name] / flags.frames / 1e12:8.3f}" for name in GRAPHS)
        ratios = f"{row['plain_over_ours']:12.3f}{row['moore_over_ours']:12.3f}"
        print(f"{size:5d}{tera}{ratios}", flush=True)
    rows = figures["sizes"]
    _table("without one shortcut, times ours", flags.sizes, [row["without"] for row in rows])
    cached = [{"an approximation (docs/sampling.md)": row["features_cached"]} for row in rows]
    _table("a step with cached deep features, times ours", flags.sizes, cached)

    forwards = [
        {name: x / 1e12 for name, x in count_forwards(model, size=s, frames=flags.frames).items()}
        for s in flags.sizes
    ]
    figures["forward_tflop_per_frame"] = dict(zip(map(str, flags.sizes), forwards, strict=True))
    _table("one forward pass, TFLOP per frame or picture", flags.sizes, forwards)
    figures["baseline"] = {
        name: [flops_baseline.count(other, size=s, frames=flags.frames) for s in flags.sizes]
        for name, other in flops_baseline.models(model).items()
    }
    for name, rows in figures["baseline"].items():
        tera = [{part: x / 1e12 for part, x in row.items()} for row in rows]
        _table(f"{name}: TFLOP", flags.sizes, tera)
    if flags.training:
        made = [count_training(model, size=s, frames=flags.frames) for s in flags.sizes]
        figures["training"] = dict(zip(map(str, flags.sizes), made, strict=True))
        ratios = [
            {f"{stage}, {name}": x for stage, row in rows.items() for name, x in row.items()
             if name != "flops"}
            for rows in made
        ]  # fmt: skip
        _table("loss and gradients of one example, times ours", flags.sizes, ratios)
    if flags.json:
        from aa_jax.files import write_text

        write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return 0


def _table(title: str, sizes: Sequence[int], columns: list[dict[str, float]]) -> None:
    print(f"\n{title}\n{'':44}", *(f"{size:>7}" for size in sizes))
    for name in columns[0]:
        print(f"{name:44}", *(f"{column[name]:7.3f}" for column in columns), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[256, 512, 768], metavar="PIXELS", help="of frames")
    add("--frames", type=int, default=24, help="of the clip")
    add("--width", type=int, default=320, help="of the UNets' first level")
    add("--training", action=argparse.BooleanOptionalAction, default=True, help="count it too")
    add("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
