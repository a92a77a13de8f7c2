"""Formats that can be read, and files that must not be."""

import collections
import io
import json
import os
import pickle
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from convert import ConvertError
from convert.reading.sources import open_source

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.bias": np.array([1.5, -2], np.float16),
    "c.bias": np.array([0.25], ml_dtypes.bfloat16),
}


def tensors():
    return {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "b.bias": torch.tensor([1.5, -2], dtype=torch.float16),
        "c.bias": torch.tensor([0.25], dtype=torch.bfloat16),
    }


def write_sharded(path):
    folder = path.with_suffix("")
    folder.mkdir()
    save_file({"a.weight": ARRAYS["a.weight"]}, folder / "model-1.safetensors")
    save_file({k: ARRAYS[k] for k in ("b.bias", "c.bias")}, folder / "model-2.safetensors")
    table = {k: f"model-{1 + (k != 'a.weight')}.safetensors" for k in ARRAYS}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return folder


def write_folder(path):
    folder = path.with_suffix("")
    folder.mkdir()
    torch.save(tensors(), folder / "diffusion_pytorch_model.bin")
    (folder / "config.json").write_text('{"act_fn": "silu"}')
    return folder


WRITERS = {
    "safetensors": lambda path: save_file(ARRAYS, path),
    "torch": lambda path: torch.save(tensors(), path),
    "legacy torch": lambda path: torch.save(tensors(), path, _use_new_zipfile_serialization=False),
    "nested": lambda path: torch.save({"epoch": 3, "state_dict": tensors()}, path),
    "sharded": write_sharded,
    "folder": write_folder,
}


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_tensors(tmp_path, form):
    path = tmp_path / "weights.any"
    path = WRITERS[form](path) or path

    source = open_source(path)

    assert set(source) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert (source[name].shape, source[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(source[name].read(), array)


def test_training_state_is_left_out_with_a_reason(tmp_path):
    state = {"state_dict": tensors(), "epoch": 1, "optimizer_states": [{}]}
    torch.save(state, tmp_path / "a.ckpt")

    source = open_source(tmp_path / "a.ckpt")

    assert source.left_out == {"epoch": "training state", "optimizer_states": "training state"}


def test_a_folder_brings_its_config(tmp_path):
    source = open_source(write_folder(tmp_path / "weights.any"))

    assert source.config == {"act_fn": "silu"}
    assert [file.name for file in source.files] == ["diffusion_pytorch_model.bin"]


@pytest.fixture
def lightning(monkeypatch):
    """A module that has the name of pytorch_lightning's while a file is written."""

    def module(name):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
        return sys.modules[name]

    module("pytorch_lightning")
    module("pytorch_lightning.callbacks")
    place = module("pytorch_lightning.callbacks.model_checkpoint")

    class ModelCheckpoint:
        def __init__(self):
            self.best = 1.0

    ModelCheckpoint.__module__ = place.__name__
    ModelCheckpoint.__qualname__ = "ModelCheckpoint"
    place.ModelCheckpoint = ModelCheckpoint
    yield ModelCheckpoint
    monkeypatch.undo()


@pytest.mark.parametrize("zipped", [True, False])
def test_callbacks_of_genuine_checkpoints_are_inert(tmp_path, lightning, zipped, monkeypatch):
    state = {
        "state_dict": tensors(),
        "callbacks": {lightning: {"score": np.float64(0.5)}, "other": lightning()},
        "counts": collections.defaultdict(int, a=1),
    }
    torch.save(state, tmp_path / "sd.ckpt", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()  # from here on the module does not exist

    source = open_source(tmp_path / "sd.ckpt")

    np.testing.assert_array_equal(source["a.weight"].read(), ARRAYS["a.weight"])
    assert set(source.left_out) == {"callbacks", "counts"}


class Marker:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path, zipped):
    marker, path = tmp_path / "marker", tmp_path / "bad.ckpt"
    state = {"state_dict": tensors(), "x": Marker(marker)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(ConvertError, match=r"bad\.ckpt: refused.*mkdir"):
        open_source(path)

    assert not marker.exists()


def test_a_plain_pickle_that_would_run_code_is_refused_unrun(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "bad.bin"
    path.write_bytes(pickle.dumps({"x": Marker(marker)}, protocol=2))

    with pytest.raises(ConvertError, match=r"bad\.bin: "):
        open_source(path)

    assert not marker.exists()


def truncated(save, cut):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()[: len(buffer.getvalue()) - cut]


def safetensors_bytes(buffer):
    from safetensors.numpy import save

    buffer.write(save(ARRAYS))


def zip_of_something_else(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "neither a safetensors nor a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (truncated(safetensors_bytes, 3), "truncated or no safetensors file"),
        (b"\x10" + b"\0" * 7 + b"{not json}......", "truncated or no safetensors file"),
        (truncated(lambda f: torch.save(tensors(), f), 200), "truncated or no PyTorch weights"),
        (
            truncated(lambda f: torch.save(tensors(), f, _use_new_zipfile_serialization=False), 9),
            "truncated or no PyTorch weights",
        ),
        (truncated(zip_of_something_else, 0), "truncated or no PyTorch weights"),
        (truncated(lambda f: torch.save([1, 2], f), 0), "holds a list"),
        (truncated(lambda f: torch.save({"a": 1}, f), 0), "holds no named tensors"),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)

    with pytest.raises(ConvertError, match=message) as error:
        open_source(path)

    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": "missing.safetensors"}, r"missing\.safetensors: no such file"),
        ({"a": "../x.safetensors"}, "outside of the folder"),
        (None, "no weight_map"),
    ],
)
def test_broken_indices_are_named(tmp_path, table, message):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": table}))

    with pytest.raises(ConvertError, match=message):
        open_source(path)


def test_a_folder_without_weights_says_what_it_expected(tmp_path):
    with pytest.raises(ConvertError, match=r"expected diffusion_pytorch_model\.safetensors"):
        open_source(tmp_path)


def test_without_torch_the_error_says_what_to_install(tmp_path, monkeypatch):
    torch.save(tensors(), tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(ConvertError, match=r"pip install 'aa_jax\[convert\]'"):
        open_source(tmp_path / "a.pth")
