"""Random numbers for metrics' networks, and two of these in PyTorch under their published names."""

import numpy as np
import torch
from flax import traverse_util
from torch import nn
from torch.nn import functional as F


def random_params(expected, seed=0):
    """Parameters of these shapes with which activations neither grow nor fade."""
    rng = np.random.default_rng(seed)
    flat = traverse_util.flatten_dict(expected)
    return traverse_util.unflatten_dict({k: _numbers(rng, v.shape) for k, v in flat.items()})


def _numbers(rng, shape):
    if len(shape) == 1:
        return rng.random(shape, np.float32) * np.float32(0.1)
    return rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)


def randomised(model):
    """The model with statistics of norms that are not those of a fresh one."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight)
    return model.eval()


# --- Inception, as pytorch-fid patches torchvision's ----------------------------------------------


class Unit(nn.Module):
    def __init__(self, channels, features, size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(features, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches, each a list of layers (name, features, size, stride) behind a pool or none."""

    def __init__(self, channels, branches):
        super().__init__()
        self.branches = branches
        for _, layers in branches:
            width = channels
            for layer in layers:
                width = self._add(width, *(layer if isinstance(layer, list) else [layer]))

    def _add(self, channels, *layers):
        for name, features, size, stride in layers:
            padding = (0, 0) if stride == 2 else tuple((n - 1) // 2 for n in size)
            self.add_module(name, Unit(channels, features, size, stride, padding))
        return sum(features for _, features, _, _ in layers)

    def forward(self, x):
        outputs = []
        for pool, layers in self.branches:
            y = pool(x)
            for layer in layers:
                names = [part[0] for part in (layer if isinstance(layer, list) else [layer])]
                y = torch.cat([getattr(self, name)(y) for name in names], 1)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _same(x):
    return x


def _mean(x):
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _largest(x):
    return F.max_pool2d(x, 3, 1, 1)


def _halved(x):
    return F.max_pool2d(x, 3, 2)


def _layer(name, features, size=(1, 1), stride=1):
    return name, features, size, stride


def _block35(channels, pooled):
    double = [_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, (3, 3))]
    return Block(
        channels,
        [
            (_same, [_layer("branch1x1", 64)]),
            (_same, [_layer("branch5x5_1", 48), _layer("branch5x5_2", 64, (5, 5))]),
            (_same, [*double, _layer("branch3x3dbl_3", 96, (3, 3))]),
            (_mean, [_layer("branch_pool", pooled)]),
        ],
    )


def _block17(inner):
    row, column = (1, 7), (7, 1)
    long = [_layer("branch7x7dbl_1", inner), _layer("branch7x7dbl_2", inner, column)]
    long += [_layer("branch7x7dbl_3", inner, row), _layer("branch7x7dbl_4", inner, column)]
    single = [_layer("branch7x7_1", inner), _layer("branch7x7_2", inner, row)]
    return Block(
        768,
        [
            (_same, [_layer("branch1x1", 192)]),
            (_same, [*single, _layer("branch7x7_3", 192, column)]),
            (_same, [*long, _layer("branch7x7dbl_5", 192, row)]),
            (_mean, [_layer("branch_pool", 192)]),
        ],
    )


def _block8(channels, pool):
    def both(name):
        return [_layer(f"{name}a", 384, (1, 3)), _layer(f"{name}b", 384, (3, 1))]

    double = [_layer("branch3x3dbl_1", 448), _layer("branch3x3dbl_2", 384, (3, 3))]
    return Block(
        channels,
        [
            (_same, [_layer("branch1x1", 320)]),
            (_same, [_layer("branch3x3_1", 384), both("branch3x3_2")]),
            (_same, [*double, both("branch3x3dbl_3")]),
            (pool, [_layer("branch_pool", 192)]),
        ],
    )


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c = _block35(192, 32), _block35(256, 64)
        self.Mixed_5d = _block35(288, 64)
        double = [_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, (3, 3))]
        shrinking = [*double, _layer("branch3x3dbl_3", 96, (3, 3), 2)]
        single = [_layer("branch3x3", 384, (3, 3), 2)]
        self.Mixed_6a = Block(288, [(_same, single), (_same, shrinking), (_halved, [])])
        self.Mixed_6b, self.Mixed_6c = _block17(128), _block17(160)
        self.Mixed_6d, self.Mixed_6e = _block17(160), _block17(192)
        single = [_layer("branch3x3_1", 192), _layer("branch3x3_2", 320, (3, 3), 2)]
        long = [_layer("branch7x7x3_1", 192), _layer("branch7x7x3_2", 192, (1, 7))]
        long += [_layer("branch7x7x3_3", 192, (7, 1)), _layer("branch7x7x3_4", 192, (3, 3), 2)]
        self.Mixed_7a = Block(768, [(_same, single), (_same, long), (_halved, [])])
        self.Mixed_7b, self.Mixed_7c = _block8(1280, _mean), _block8(2048, _largest)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halved(x)))
        x = _halved(x)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


# --- 3D-ResNet50, as in 3D-ResNets-PyTorch, shortcuts of type B -----------------------------------


class Bottleneck(nn.Module):
    def __init__(self, channels, features, stride):
        super().__init__()
        self.conv1 = nn.Conv3d(channels, features, 1, bias=False)
        self.conv2 = nn.Conv3d(features, features, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv3d(features, 4 * features, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm3d(features), nn.BatchNorm3d(features)
        self.bn3 = nn.BatchNorm3d(4 * features)
        self.downsample = None
        if stride != 1 or channels != 4 * features:
            projection = nn.Conv3d(channels, 4 * features, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(4 * features))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x))


class ResNet3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        channels = 64
        for stage, (features, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            blocks = []
            for i in range(count):
                blocks.append(Bottleneck(channels, features, 2 if stage and not i else 1))
                channels = 4 * features
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, 400)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3, 4))
