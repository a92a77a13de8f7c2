"""Inception for FID, to the graph of pytorch-fid's weights in PyTorch: 1e-4 of the largest."""

import jax
import metric_networks
import numpy as np
import pytest
import torch

from aa_jax.metrics import inception, weights
from aa_jax.metrics.errors import MetricUnavailable
from convert.__main__ import main


@pytest.fixture(scope="module")
def published():
    return metric_networks.randomised(metric_networks.Inception())


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    torch.save(published.state_dict(), folder / "published.pth")
    out = folder / "inception.safetensors"
    assert main(["metrics", "inception", str(folder / "published.pth"), "--output", str(out)]) == 0
    return out


def test_a_published_file_gives_the_features_it_gives_in_torch(published, converted, monkeypatch):
    monkeypatch.setattr(inception, "SIZE", 91)  # the same layers in a tenth of the time
    params, origin = weights.load("inception", inception.expected(), converted)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 32, 40, 3), np.uint8)
    x = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255
    x = torch.nn.functional.interpolate(x, (91, 91), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected = published(2 * x - 1).numpy()
    ours = jax.jit(inception.pooled)(params, pictures)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert origin.source == "published.pth"


def test_without_weights_one_line_says_which_file_to_give(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MetricUnavailable, match=r"convert metrics inception FILE takes pt_incep"):
        inception.load()
