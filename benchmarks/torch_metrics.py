"""LPIPS and I3D in PyTorch: the package `lpips` 0.1.4, and I3D's graph of plain layers.

`lpips` builds its trunks of torchvision's, which does not import beside every build of PyTorch; all
it takes from there, the layers of AlexNet and VGG16 without weights, stands in for it here. Numbers
are put in from our parameters.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aa_jax.metrics import i3d

Params = Mapping[str, Any]


# --- LPIPS --------------------------------------------------------------------------------------


def alexnet(**_: Any) -> nn.Module:
    """What `lpips` takes of torchvision's AlexNet, with random numbers."""
    convolutions = [(3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1)]
    convolutions += [(384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]
    layers: list[nn.Module] = []
    for index, (channels, features, size, stride, padding) in enumerate(convolutions):
        layers += [nn.Conv2d(channels, features, size, stride, padding), nn.ReLU(inplace=True)]
        if index < 2:
            layers.append(nn.MaxPool2d(3, 2))
    return _with_features(layers)


def vgg16(**_: Any) -> nn.Module:
    """What `lpips` takes of torchvision's VGG16, with random numbers."""
    layers: list[nn.Module] = []
    channels = 3
    for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(inplace=True)]
            channels = features
        layers.append(nn.MaxPool2d(2, 2))
    return _with_features(layers)


def _with_features(layers: list[nn.Module]) -> nn.Module:
    model = nn.Module()
    model.features = nn.Sequential(*layers)
    return model


@contextlib.contextmanager
def _as_torchvision() -> Iterator[None]:
    made = types.ModuleType("torchvision")
    made.models = types.ModuleType("torchvision.models")
    made.models.alexnet, made.models.vgg16 = alexnet, vgg16
    names = {"torchvision": made, "torchvision.models": made.models}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def lpips(network: str, params: Params) -> nn.Module:
    """`lpips.LPIPS` with its own heads and our trunk's numbers.

    Args:
      network: `alex` or `vgg`.
      params: of `aa_jax.metrics.lpips`.

    Raises:
      ImportError: `lpips` is not installed.
    """
    with _as_torchvision():
        import lpips

        model = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    layers = [layer for layer in model.net.modules() if isinstance(layer, nn.Conv2d)]
    for index, layer in enumerate(layers):
        fill(layer, params["trunk"][f"conv_{index}"])
    return model.eval()


def fill(layer: nn.Module, numbers: Params) -> None:
    """Puts our kernel and bias into a convolution."""
    kernel = np.moveaxis(np.asarray(numbers["kernel"]), (-1, -2), (0, 1))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernel))
        layer.bias.copy_(torch.tensor(np.asarray(numbers["bias"])))


# --- I3D ----------------------------------------------------------------------------------------


class Unit(nn.Module):
    """A convolution padded as TensorFlow does, and a ReLU."""

    def __init__(self, params: Params, stride: int = 1, relu: bool = True):
        """With our numbers."""
        super().__init__()
        *size, channels, features = np.shape(params["kernel"])
        self.size, self.stride, self.relu = size, [stride] * 3, relu
        self.layer = nn.Conv3d(channels, features, size, stride)
        fill(self.layer, params)

    def forward(self, x: Tensor) -> Tensor:
        """Clips [n, c, t, h, w]."""
        y = self.layer(_padded(x, self.size, self.stride))
        return F.relu(y, inplace=True) if self.relu else y


class Mixed(nn.Module):
    """An Inception block."""

    def __init__(self, params: Params):
        """With our numbers."""
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(Unit(layer) for _, layer in sorted(params[f"Branch_{i}"].items())))
            for i in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Clips [n, c, t, h, w]."""
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        inputs = (x, x, x, pooled)
        return torch.cat([b(y) for b, y in zip(self.branches, inputs, strict=True)], 1)


class I3D(nn.Module):
    """The network; frames of 224x224 with numbers from -1 to 1, to 400 logits."""

    def __init__(self, params: Params):
        """With the numbers of `aa_jax.metrics.i3d`."""
        super().__init__()
        self.first = Unit(params["Conv3d_1a_7x7"], 2)
        self.second = nn.Sequential(Unit(params["Conv3d_2b_1x1"]), Unit(params["Conv3d_2c_3x3"]))
        self.blocks = nn.ModuleDict({name: Mixed(params[name]) for name in i3d.MIXED})
        self.logits = Unit(params["Logits"]["Conv3d_0c_1x1"], relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Clips [n, c, t, h, w]."""
        x = _max_pool(self.first(x), (1, 3, 3), (1, 2, 2))
        x = _max_pool(self.second(x), (1, 3, 3), (1, 2, 2))
        for name, block in self.blocks.items():
            x = block(x)
            if name in i3d.POOLED_AFTER:
                x = _max_pool(x, i3d.POOLED_AFTER[name], (2, 2, 2))
        x = F.avg_pool3d(x, (2, *x.shape[3:]), 1)
        return self.logits(x).mean((2, 3, 4))


def _max_pool(x: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # What comes here is not negative, so that zeros may be padded.
    return F.max_pool3d(_padded(x, size, stride), size, stride)


def _padded(x: Tensor, size: Any, stride: Any) -> Tensor:
    around: list[int] = []
    for length, width, step in zip(x.shape[2:], size, stride, strict=True):
        missing = max((-(-length // step) - 1) * step + width - length, 0)
        around = [missing // 2, missing - missing // 2, *around]
    return F.pad(x, around) if any(around) else x
