#!/usr/bin/env bash
# jax 0.10.2 on a CPU: `device_put(x, may_alias=False)` does not copy a NumPy array.
#
# The documentation of `may_alias` says that with False the argument is copied. An array whose
# memory begins at a multiple of 64 bytes, as large ones often do by chance, becomes the device's
# own buffer all the same: the "copy" has the address of `x`, and shows what is written to `x`
# later. Who fills one buffer with batch after batch trains on batches that change under the step.
# `jnp.array(x)` copies.
#
# Output: may_alias=False: same memory True, after writing 2 to x it holds 2.0
#         jnp.array: same memory False, after writing 2 to x it holds 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np


def aligned_ones():
    raw = np.zeros(4096 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + 4096].view(np.float32)
    array[:] = 1
    return array


def seen(name, put):
    x = aligned_ones()
    y = jax.block_until_ready(put(x))
    same = y.unsafe_buffer_pointer() == x.ctypes.data
    x[:] = 2
    print(f"{name}: same memory {same}, after writing 2 to x it holds {float(y[0])}")
    return same, float(y[0])


shared = seen("may_alias=False", lambda x: jax.device_put(x, jax.devices()[0], may_alias=False))
copied = seen("jnp.array", jnp.array)
assert shared == (True, 2.0), "device_put no longer shares memory"
assert copied == (False, 1.0), "jnp.array no longer copies"
PYTHON
