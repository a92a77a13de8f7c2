"""PyTorch keys to parameter paths and back."""

import numpy as np
import pytest
from parity import normal

from aa_jax.models import torch_names

MOTION = "up_blocks.3.motion_modules.0.temporal_transformer"


@pytest.mark.parametrize(
    ("key", "ndim", "path"),
    [
        ("conv_in.weight", 4, "conv_in/kernel"),
        ("time_embedding.linear_1.bias", 1, "time_embedding/linear_1/bias"),
        ("down_blocks.0.resnets.1.norm1.weight", 1, "down_blocks_0/resnets_1/norm1/scale"),
        ("up_blocks.0.upsamplers.0.conv.weight", 4, "up_blocks_0/upsamplers_0/conv/kernel"),
        (
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.weight",
            2,
            "mid_block/attentions_0/transformer_blocks_0/attn1/to_out_0/kernel",
        ),
        (
            f"{MOTION}.transformer_blocks.0.ff.net.0.proj.weight",
            2,
            "up_blocks_3/motion_modules_0/temporal_transformer/transformer_blocks_0/ff/net_0/proj/"
            "kernel",
        ),
        (
            f"{MOTION}.transformer_blocks.0.norms.1.bias",
            1,
            "up_blocks_3/motion_modules_0/temporal_transformer/transformer_blocks_0/norms_1/bias",
        ),
        ("blocks.12.weight", 4, "blocks_12/kernel"),
    ],
)
def test_names_map_both_ways(key, ndim, path):
    assert "/".join(torch_names.to_path(key, ndim)) == path
    assert torch_names.to_key(tuple(path.split("/"))) == key


def test_kernels_are_transposed_both_ways():
    state = {
        "conv_in.weight": normal(2, 3, 4, 5),
        "conv_in.bias": normal(2),
        "time_embedding.linear_1.weight": normal(6, 7),
        "conv_norm_out.weight": normal(8),
    }

    params = torch_names.from_torch(state)

    assert params["conv_in"]["kernel"].shape == (4, 5, 3, 2)
    assert params["time_embedding"]["linear_1"]["kernel"].shape == (7, 6)
    assert params["conv_norm_out"]["scale"].shape == (8,)
    back = torch_names.to_torch(params)
    assert back.keys() == state.keys()
    for key, x in state.items():
        np.testing.assert_array_equal(back[key], x)


def test_position_tables_are_left_out():
    key = f"{MOTION}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"

    assert torch_names.from_torch({key: normal(1, 24, 8)}) == {}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("conv_in.running_mean", "neither weight nor bias"),
        ("linears.0.weight", "unexpected index 0"),
    ],
)
def test_unknown_keys_are_refused(key, message):
    with pytest.raises(ValueError, match=message):
        torch_names.from_torch({key: normal(3)})


def test_template_names_every_difference():
    template = {"a": {"kernel": normal(2, 3), "bias": normal(3)}, "b": {"bias": normal(1)}}
    state = {"a.weight": normal(2, 3), "a.bias": normal(3), "c.bias": normal(1)}

    with pytest.raises(ValueError, match=r"missing b\.bias") as error:
        torch_names.from_torch(state, template)

    assert "unexpected c.bias" in str(error.value)
    assert "a.weight gives the shape (3, 2) where (2, 3) is wanted" in str(error.value)
