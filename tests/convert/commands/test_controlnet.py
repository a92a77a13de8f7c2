"""A Pose Guider starts from the hint encoder of the OpenPose ControlNet."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from aa_jax import weights


@pytest.mark.parametrize("single_file", [False, True])
def test_openpose_controlnet_starts_a_pose_guider(run, manifest, tmp_path, single_file):
    rng = np.random.default_rng(0)
    hint = "controlnet_cond_embedding."
    shapes = {key: s for key, s in manifest("controlnet_openpose").items() if key.startswith(hint)}
    source = {key: rng.standard_normal(s).astype(np.float32) for key, s in shapes.items()}
    state = dict(source)
    if single_file:  # conv_in, 6 blocks, conv_out are the even layers of a sequence
        order = ["conv_in", *(f"blocks.{i}" for i in range(6)), "conv_out"]
        state = {
            f"control_model.input_hint_block.{2 * i}.{leaf}": source[f"{hint}{name}.{leaf}"]
            for i, name in enumerate(order)
            for leaf in ("weight", "bias")
        }
    path = tmp_path / "c.safetensors"
    save_file(state | {"zero_convs.0.0.weight": np.zeros(3, np.float32)}, path)

    start = run("controlnet-openpose", path, "--output", tmp_path / "out")
    kept = run("controlnet-openpose", path, "--keep-output", "--output", tmp_path / "kept")

    assert (start.code, kept.code) == (0, 0)
    assert "1 (ControlNet's copy of the UNet)" in start.out
    _, params = weights.load(tmp_path / "out", networks=["pose_guider"])
    guider = params["pose_guider"]
    np.testing.assert_array_equal(
        guider["blocks_3"]["kernel"].transpose(3, 2, 0, 1), source[f"{hint}blocks.3.weight"]
    )
    assert not guider["conv_out"]["kernel"].any()
    _, params = weights.load(tmp_path / "kept", networks=["pose_guider"])
    np.testing.assert_array_equal(
        params["pose_guider"]["conv_out"]["bias"], source[f"{hint}conv_out.bias"]
    )
