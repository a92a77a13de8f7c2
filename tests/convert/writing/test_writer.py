"""The streaming writer's files are what the safetensors library writes."""

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from convert import ConvertError
from convert.reading.tensors import Tensor
from convert.writing import writer

ARRAYS = {
    "b": np.arange(6, dtype=np.float16).reshape(2, 3),
    "a": np.arange(3, dtype=np.float32),
    "scalar": np.array(7, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "bf16": np.array([1, 2], ml_dtypes.bfloat16),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "strided": np.arange(6, dtype=np.float16)[::2],
}


def test_any_dtype_and_shape_comes_back(tmp_path):
    path = tmp_path / "x.safetensors"
    done = []
    tensors = {name: Tensor.of(x) for name, x in ARRAYS.items()}

    writer.write_safetensors(path, tensors, metadata={"format": "pt"}, progress=done.append)

    found = load_file(path)
    assert found.keys() == ARRAYS.keys()
    for name, x in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
        assert found[name].tobytes() == x.tobytes()
    assert sum(done) == sum(x.nbytes for x in ARRAYS.values())
    with safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_bytes_are_those_of_the_library(tmp_path):
    arrays = {name: ARRAYS[name] for name in ("a", "b")}
    save_file(arrays, tmp_path / "library.safetensors")
    writer.write_safetensors(
        tmp_path / "ours.safetensors", {name: Tensor.of(x) for name, x in arrays.items()}
    )
    assert (tmp_path / "ours.safetensors").read_bytes() == (
        tmp_path / "library.safetensors"
    ).read_bytes()


def test_tensors_are_read_one_at_a_time(tmp_path):
    alive, most = 0, 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is None

    def read():
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Counted((8,), np.float32)

    tensors = {f"{i}": Tensor((8,), np.dtype(np.float32), read) for i in range(5)}
    writer.write_safetensors(tmp_path / "x.safetensors", tensors)
    assert most <= 2  # the next is read before the last one's name is bound anew


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_nonfinite_numbers_are_refused(tmp_path, dtype):
    tensors = {"x": Tensor.of(np.array([1, np.nan, np.inf], dtype))}
    with pytest.raises(ConvertError, match="net: x holds 2 NaN or infinite of 3 numbers"):
        writer.write_safetensors(tmp_path / "net.safetensors", tensors, allow_nonfinite=False)
