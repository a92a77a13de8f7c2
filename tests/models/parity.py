"""Helpers of the parity tests: PyTorch modules with telling weights, and their outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from aa_jax.models import torch_names


def perturbed(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with noise on every parameter: norms and biases would be ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return module.eval()


def params_of(module: torch.nn.Module) -> dict:
    """Our parameter tree of a PyTorch module."""
    return torch_names.from_torch({k: v.numpy() for k, v in module.state_dict().items()})


def apply(module, params, *args, **kwargs):
    """A linen module's output, compiled."""
    call = functools.partial(module.apply, **kwargs)
    return jax.jit(lambda params, *args: call({"params": params}, *args))(params, *args)


def random_params(module, *args, seed: int = 0, std: float = 0.1) -> dict:
    """Normal parameters (norm scales around one) for a linen module; faster than its `init`."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    rng = np.random.default_rng(seed)

    def draw(path, x):
        mean = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(mean + std * rng.standard_normal(x.shape), x.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def normal(*shape: int, seed: int = 0, std: float = 1.0) -> np.ndarray:
    """Float32 normal numbers."""
    return (std * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def nhwc(x) -> jnp.ndarray:
    """[b c t h w] or [b c h w] to channels last."""
    return jnp.asarray(np.moveaxis(np.asarray(x), 1, -1))


def nchw(x) -> np.ndarray:
    """Channels last to [b c t h w] or [b c h w]."""
    return np.moveaxis(np.asarray(x), -1, 1)
