"""The ResNet against torchvision's graph, written out, and its way to the UNet's levels."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from parity import apply, nchw, nhwc, normal
from torch_resnet import torch_resnet

from aa_jax.config import ReferenceConfig, UNetConfig
from aa_jax.models import torch_names
from aa_jax.models.image_resnet import MEAN, STD, ImageResNet, Projection, transformer_levels
from convert.commands.resnet import folded, section
from convert.reading.tensors import Tensor


def test_stages_are_those_of_torchvision_s_graph():
    network = torch_resnet()
    pictures = np.abs(normal(2, 3, 40, 56)).clip(0, 1)
    normed = (pictures - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    with torch.no_grad():
        expected = network(torch.tensor(normed.astype("f4")))
    state = {k: Tensor.of(v.numpy()) for k, v in network.state_dict().items()}
    config = section(state, ReferenceConfig(kind="resnet"))
    assert (config.resnet_layers, config.resnet_width) == ((2, 1, 1, 1), 4)
    numbers = {k: t.read() for k, t in folded(state).items() if not k.startswith("fc.")}

    stages = apply(ImageResNet(config), torch_names.from_torch(numbers), nhwc(pictures))

    for x, y in zip(stages, expected, strict=True):
        np.testing.assert_allclose(nchw(x), y.numpy(), atol=1e-4 * float(y.abs().max()))


def test_every_transformer_block_gets_features_of_its_level_s_size():
    config = UNetConfig()
    stages = [
        jax.ShapeDtypeStruct((1, 96 // 2**i, 64 // 2**i, 256 * 2**i), jnp.float32) for i in range(4)
    ]

    features = jax.eval_shape(
        lambda stages: Projection(config, 8).init_with_output(jax.random.key(0), stages, 48, 32)[0],
        stages,
    )

    assert len(features) == 16
    for path, level in transformer_levels(config).items():
        tokens = (48 // 2**level) * (32 // 2**level)
        assert features[path].shape == (1, tokens, config.block_out_channels[level])
