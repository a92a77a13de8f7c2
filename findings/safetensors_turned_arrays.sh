#!/usr/bin/env bash
# safetensors 0.8.0 (NumPy): a transposed array is saved with its shape and other numbers.
#
# `safetensors.numpy.save` takes the bytes of an array as they lie in memory and writes the shape
# beside them. Of a transposed, a strided or a Fortran-ordered array, all of them ordinary NumPy
# arrays, the file then holds the right shape and dtype with the numbers in the wrong places. There
# is no error and no warning; converters of weights, which transpose kernels all day, meet it first.
# `np.ascontiguousarray` before saving is enough.
#
# Output: transposed: saved [[0, 3], [1, 4], [2, 5]], loaded [[0, 1], [2, 3], [4, 5]]
#         every second: saved [0, 2, 4], loaded [0, 1, 2]
#         Fortran order: saved [[0, 1, 2], [3, 4, 5]], loaded [[0, 3, 1], [4, 2, 5]]
#         made contiguous: saved [[0, 3], [1, 4], [2, 5]], loaded [[0, 3], [1, 4], [2, 5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

matrix = np.arange(6, dtype=np.int32).reshape(2, 3)


def survives(name, array):
    save_file({"x": array}, "x.safetensors")
    loaded = load_file("x.safetensors")["x"]
    assert loaded.shape == array.shape
    assert loaded.dtype == array.dtype
    print(f"{name}: saved {array.tolist()}, loaded {loaded.tolist()}")
    return np.array_equal(loaded, array)


assert not survives("transposed", matrix.T), "transposed arrays are saved rightly now"
assert not survives("every second", np.arange(6, dtype=np.int32)[::2]), "strided ones are"
assert not survives("Fortran order", np.asfortranarray(matrix)), "Fortran-ordered ones are"
assert survives("made contiguous", np.ascontiguousarray(matrix.T)), "contiguous ones are not"
PYTHON
