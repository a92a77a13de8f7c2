"""Nothing is lost and nothing made up on the way from a state dict to a network."""

import ml_dtypes
import numpy as np
import pytest

from aa_jax import weights
from aa_jax.config import NETWORKS
from aa_jax.models.motion_module import position_table
from convert import ConvertError
from convert.commands import export
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor
from convert.writing import transfer


@pytest.fixture(scope="module")
def states(directory):
    """PyTorch state dicts of the tiny model's networks, as arrays."""

    def read(name):
        source = open_source(directory / f"{name}.safetensors")
        state = export.state_dict(name, model_of(directory), source)
        return {key: tensor.read() for key, tensor in state.items()}

    return {name: read(name) for name in NETWORKS}


def model_of(directory):
    return weights.load_config(directory).model


@pytest.fixture
def model(directory):
    return model_of(directory)


def test_arrays_are_transposed_and_keep_their_dtype(states, model):
    tree, report = transfer.network("denoising_unet", model, states["denoising_unet"])

    kernel = tree["conv_in"]["kernel"]
    assert (kernel.shape, kernel.dtype) == ((3, 3, 4, 16), np.float16)
    np.testing.assert_array_equal(
        kernel.transpose(3, 2, 0, 1), states["denoising_unet"]["conv_in.weight"]
    )
    assert report.used == len(states["denoising_unet"])
    assert report.dtypes == ("float16",)
    assert not report.ignored


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_unexpected_and_mis_shaped_tensors_are_named(states, model, name):
    state = dict(states[name])
    missing = next(key for key in state if key.endswith("bias"))
    del state[missing]
    crooked = next(key for key in state if key.endswith("weight"))
    state[crooked] = state[crooked][:-1]
    extra = f"{crooked.rpartition('.')[0]}.extra.weight"
    state[extra] = np.zeros(1, np.float16)

    with pytest.raises(ConvertError) as error:
        transfer.network(name, model, state)

    message = str(error.value)
    assert f"missing {missing}" in message
    assert f"unexpected {extra}" in message
    assert f"mis-shaped {crooked} {list(state[crooked].shape)} where" in message


def test_integers_are_no_parameters(states, model):
    state = dict(states["pose_guider"])
    state["conv_in.bias"] = state["conv_in.bias"].astype(np.int32)
    with pytest.raises(ConvertError, match=r"conv_in\.bias \(int32\)"):
        transfer.network("pose_guider", model, state)


def test_bfloat16_passes(states, model):
    state = {k: x.astype(ml_dtypes.bfloat16) for k, x in states["pose_guider"].items()}
    tree, report = transfer.network("pose_guider", model, state)
    assert tree["conv_in"]["bias"].dtype == ml_dtypes.bfloat16
    assert report.dtypes == ("bfloat16",)


def test_the_reference_net_leaves_output_layers_out(states, model):
    _, report = transfer.network("reference_unet", model, states["denoising_unet"])
    modules = ("conv_norm_out", "conv_out")
    assert set(report.ignored) == {f"{m}.{leaf}" for m in modules for leaf in ("weight", "bias")}
    assert "4 (the ReferenceNet has no output layers)" in str(report)


def test_one_state_dict_may_hold_both_halves_of_the_denoising_unet(states, model):
    whole = states["denoising_unet"] | states["motion_module"]
    _, spatial = transfer.network("denoising_unet", model, whole)
    _, motion = transfer.network("motion_module", model, whole)
    assert spatial.used == len(states["denoising_unet"])
    assert set(motion.ignored.values()) == {
        "belongs to denoising_unet",
        "a constant, equal to ours",
    }


def test_clips_counter_and_text_side_are_ignored(states, model):
    state = states["image_encoder"] | {
        "vision_model.embeddings.position_ids": np.arange(5),
        "text_model.final_layer_norm.bias": np.zeros(3, np.float32),
        "logit_scale": np.zeros((), np.float32),
    }
    _, report = transfer.network("image_encoder", model, state)
    assert report.ignored["logit_scale"] == "CLIP's text side"
    assert len(report.ignored) == 3


def test_further_tensors_are_ignored_by_request_only(states, model):
    state = states["pose_guider"] | {"note.weight": np.zeros(1, np.float32)}
    with pytest.raises(ConvertError, match=r"unexpected note\.weight"):
        transfer.network("pose_guider", model, state)
    _, report = transfer.network(
        "pose_guider", model, state, ignore=[(r"note\..*", "not ours to keep")]
    )
    assert report.ignored == {"note.weight": "not ours to keep"}


@pytest.mark.parametrize("convolution", [True, False])
def test_attention_of_old_vaes(states, model, convolution):
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, x in states["vae"].items():
        for new, name in names.items():
            if f".{new}." in key:
                key = key.replace(f".{new}.", f".{name}.")
                x = x[:, :, None, None] if convolution and x.ndim == 2 else x
        old[key] = x
    assert any(".proj_attn." in key for key in old)

    ours, _ = transfer.network("vae", model, old)
    expected, _ = transfer.network("vae", model, states["vae"])

    attention = ours["encoder"]["mid_block"]["attentions_0"]
    assert attention["query"]["kernel"].ndim == 2
    for name in ("query", "key", "value", "proj_attn"):
        np.testing.assert_array_equal(
            attention[name]["kernel"],
            expected["encoder"]["mid_block"]["attentions_0"][name]["kernel"],
        )


def test_a_prefix_on_all_names_does_not_matter(states, model):
    state = {f"module.{key}": x for key, x in states["pose_guider"].items()}
    _, report = transfer.network("pose_guider", model, state)
    assert report.used == len(state)


def with_tables(state, function):
    return {k: function(x) if k.endswith(".pe") else x for k, x in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :24], r"\[1, 24, \d+\] where 32 positions are wanted"),
        (lambda x: x[0], "where 32 positions are wanted"),
        (lambda x: np.roll(x, 1, axis=1), r"differs from the sinusoidal table by 2\.0e\+00"),
        (lambda x: x + np.float32(1e-3), r"differs from the sinusoidal table by 1\.0e-03"),
        (lambda x: np.full_like(x, np.nan), "differs from the sinusoidal table by nan"),
    ],
)
def test_position_tables_are_compared(states, model, change, message):
    with pytest.raises(ConvertError, match=message):
        transfer.network("motion_module", model, with_tables(states["motion_module"], change))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_position_tables_may_be_rounded(states, model, dtype):
    state = with_tables(states["motion_module"], lambda x: x.astype(dtype))
    _, report = transfer.network("motion_module", model, state)
    assert "a constant, equal to ours" in report.ignored.values()


def test_angles_computed_in_float32_are_near_enough():
    import torch

    positions = torch.arange(32).unsqueeze(1)
    frequencies = torch.exp(torch.arange(0, 320, 2) * (-np.log(10000.0) / 320))
    table = torch.zeros(1, 32, 320)
    table[0, :, 0::2] = torch.sin(positions * frequencies)
    table[0, :, 1::2] = torch.cos(positions * frequencies)
    assert np.abs(table[0].numpy() - position_table(32, 320)).max() < 1e-5
    transfer.check_position_tables({"a.pos_encoder.pe": Tensor.of(table.numpy())}, 32)


def test_planning_reads_nothing_but_position_tables(states, model):
    def unread(key, x):
        def read():
            assert key.endswith(".pe"), key
            return x

        return Tensor(x.shape, x.dtype, read)

    for name, state in states.items():
        planned, _ = transfer.plan(name, model, {k: unread(k, x) for k, x in state.items()})
        assert planned
