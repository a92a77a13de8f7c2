"""3D-ResNet50 for FID-VID, to the graph of 3D-ResNets-PyTorch: 1e-4 of the largest feature."""

import jax
import metric_networks
import numpy as np
import torch

from aa_jax.metrics import resnet3d, weights
from convert.__main__ import main


def test_a_published_file_gives_the_features_it_gives_in_torch(tmp_path):
    published = metric_networks.randomised(metric_networks.ResNet3D())
    state = {f"module.{name}": x for name, x in published.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 200, "arch": "resnet-50"}, tmp_path / "r.pth")
    out = tmp_path / "resnet3d.safetensors"

    assert main(["metrics", "resnet3d", str(tmp_path / "r.pth"), "--output", str(out)]) == 0

    params, _ = weights.load("resnet3d", resnet3d.expected(), out)
    x = np.random.default_rng(0).standard_normal((1, 16, 40, 40, 3), np.float32)
    with torch.no_grad():
        expected = published(torch.tensor(x).permute(0, 4, 1, 2, 3)).numpy()
    ours = jax.jit(resnet3d.ResNet3D().apply)({"params": params}, x)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
