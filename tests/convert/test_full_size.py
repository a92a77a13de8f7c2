"""Full-size random weights of Moore-AnimateAnyone's files: exact, quick, and small in memory."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors import safe_open

from aa_jax.models.motion_module import position_table
from aa_jax.models.torch_names import to_key, transposed

GIB = 2**30


@pytest.fixture(scope="module")
def checkpoints(manifest, tmp_path_factory):
    """The published files: 2 x 860 M, 454 M, VAE and CLIP, float16; 10 GB with the output."""
    import torch

    folder = tmp_path_factory.mktemp("full")
    unet = manifest("sd15_unet")
    ends = ("conv_norm_out", "conv_out")
    files = {
        "denoising_unet.pth": unet,
        "reference_unet.pth": {k: s for k, s in unet.items() if not k.startswith(ends)},
        "motion_module.pth": manifest("mm_sd_v15_v2"),
        "pose_guider.pth": manifest("moore_pose_guider"),
        "sd-vae-ft-mse/diffusion_pytorch_model.bin": manifest("sd15_vae"),
        "image_encoder/pytorch_model.bin": manifest("clip_vision"),
    }
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(1 << 24, np.float32).astype(np.float16)
    for name, shapes in files.items():
        state = {}
        for key, shape in shapes.items():
            if key.endswith(".pe"):
                array = position_table(*shape[1:])[None]
            else:  # any stretch of one long draw
                start = int(rng.integers(1 << 10))
                stretch = noise[start : start + int(np.prod(shape))]
                array = np.resize(stretch, shape)  # repeats it where it is too short
            state[key] = torch.from_numpy(array)
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save(state, folder / name)
    return folder


@pytest.mark.slow
def test_a_published_set_converts_within_its_memory(checkpoints, tmp_path):
    import torch

    largest = max(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
    out = tmp_path / "out"
    start = time.perf_counter()

    done = subprocess.run(
        [sys.executable, "-m", "convert", "animate-anyone", checkpoints, "--output", out],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    print(done.stdout, f"{time.perf_counter() - start:.0f} s in all", sep="")
    peak = float(re.search(r"peak memory ([\d.]+) GiB", done.stdout)[1])
    assert peak * GIB < 1.5 * largest + 1.5 * GIB
    for name in ("denoising_unet", "reference_unet", "motion_module", "pose_guider"):
        source = torch.load(checkpoints / f"{name}.pth", mmap=True)
        with safe_open(out / f"{name}.safetensors", framework="np") as file:
            for entry in file.keys():  # noqa: SIM118 (no mapping)
                path = tuple(entry.split("."))
                expected = transposed(path, source[to_key(path)].numpy(), to_torch=False)
                assert expected.tobytes() == file.get_tensor(entry).tobytes(), entry
