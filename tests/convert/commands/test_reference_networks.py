"""ControlNets and ResNets as reference networks: in from public formats, and out again."""

import dataclasses

import numpy as np
import pytest
import tiny_model
import torch
from flax import traverse_util
from safetensors.numpy import load_file
from torch_resnet import torch_resnet

from aa_jax import config as config_lib
from aa_jax import weights
from convert.reading import ldm

CONTROL = dataclasses.replace(
    tiny_model.MODEL,
    reference=config_lib.ReferenceConfig(kind="clip_controlnet", hint_channels=(4, 6, 8, 8)),
)


@pytest.fixture
def controlled(tmp_path):
    """A weights directory that holds a ControlNet alone."""
    rng = np.random.default_rng(0)
    shapes = weights.abstract_params(CONTROL, ("controlnet",))["controlnet"]
    flat = traverse_util.flatten_dict(shapes)
    tree = traverse_util.unflatten_dict(
        {path: rng.standard_normal(x.shape).astype(np.float16) for path, x in flat.items()}
    )
    config = weights.WeightsConfig(
        model=CONTROL,
        schedule=config_lib.NoiseScheduleConfig(),
        skeleton=config_lib.SkeletonConfig(),
        sampling=config_lib.SamplingConfig(),
    )
    weights.save(tmp_path / "weights", config, {"controlnet": tree}, dtype=np.float16)
    return tmp_path / "weights"


def test_a_controlnet_goes_to_diffusers_and_back_bit_for_bit(run, controlled, tmp_path):
    from diffusers import ControlNetModel

    there = run("export", controlled, "--layout", "diffusers", "--output", tmp_path / "out")
    back = run(
        "reference-controlnet", tmp_path / "out" / "controlnet", "--output", tmp_path / "again"
    )

    assert (there.code, back.code) == (0, 0), back.err
    folder = tmp_path / "out" / "controlnet"
    _, info = ControlNetModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    before, after = (
        load_file(f / "controlnet.safetensors") for f in (controlled, tmp_path / "again")
    )
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    model = weights.load_config(tmp_path / "again").model
    assert (model.unet, model.reference.hint_channels) == (CONTROL.unet, (4, 6, 8, 8))


def test_single_files_have_diffusers_names_after_renaming(manifest):
    names = [f"zero_convs.{i}.0.weight" for i in range(12)]
    names += [f"input_hint_block.{2 * i}.bias" for i in range(8)]
    names += [f"input_blocks.{3 * i}.0.op.weight" for i in (1, 2, 3)]
    names += [f"input_blocks.{i}.0.in_layers.2.weight" for i in (1, 2, 4, 5, 7, 8, 10, 11)]
    names += [f"input_blocks.{i}.1.proj_in.weight" for i in (1, 2, 4, 5, 7, 8)]
    names += ["input_blocks.0.0.weight", "middle_block_out.0.bias", "middle_block.1.norm.bias"]
    names += ["middle_block.2.out_layers.3.bias", "time_embed.0.weight", "time_embed.2.bias"]

    renamed = ldm.control_net({f"control_model.{name}": None for name in names})

    assert len(renamed) == len(names)
    assert renamed.keys() <= manifest("controlnet_openpose").keys()


def test_torchvision_s_resnet_becomes_a_reference_network(run, tmp_path):
    network = torch_resnet()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")

    end = run("resnet", tmp_path / "resnet.pth", "--output", tmp_path / "out")

    assert end.code == 0, end.err
    assert "the classifier" in end.out
    config, params = weights.load(tmp_path / "out", networks=["resnet"])
    assert config.model.reference.resnet_layers == (2, 1, 1, 1)
    norm = network.layer3[0].bn2
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    found = params["resnet"]["layer3_0"]["bn2"]["scale"]
    np.testing.assert_allclose(found, scale, rtol=1e-6)
