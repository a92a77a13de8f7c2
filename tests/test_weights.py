import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import NETWORKS, ModelConfig
from aa_jax.weights import WeightsError


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, weights.init_params(jax.random.key(0), tiny_config().model))


@pytest.fixture
def directory(tmp_path, params):
    run = tiny_config()
    config = weights.WeightsConfig(
        model=run.model, schedule=run.schedule, skeleton=run.skeleton, sampling=run.sampling
    )
    weights.save(tmp_path / "weights", config, params)
    return tmp_path / "weights"


def test_saved_weights_come_back_bit_for_bit(directory, params):
    config, loaded = weights.load(directory)
    assert config.model == tiny_config().model
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_float16_halves_the_files_and_rounds(tmp_path, directory, params):
    config, _ = weights.load(directory)
    weights.save(tmp_path / "half", config, params, dtype=np.float16)
    sizes = [
        sum(f.stat().st_size for f in d.glob("*.safetensors"))
        for d in (directory, tmp_path / "half")
    ]
    assert sizes[1] < 0.75 * sizes[0]
    _, loaded = weights.load(tmp_path / "half")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float16).astype(np.float32)),
        loaded,
        params,
    )


def test_saving_replaces_and_leaves_nothing_behind(directory, params):
    config, _ = weights.load(directory)
    weights.save(directory, config, {"vae": params["vae"]})
    assert sorted(p.name for p in directory.iterdir()) == ["config.json", "vae.safetensors"]
    assert [p.name for p in directory.parent.iterdir()] == ["weights"]


def test_a_failed_save_keeps_the_old_weights(directory, params):
    config, _ = weights.load(directory)
    with pytest.raises(TypeError):
        weights.save(directory, config, {"vae": params["vae"], "pose_guider": {"kernel": object}})
    assert len(list(directory.glob("*.safetensors"))) == len(params)
    assert [p.name for p in directory.parent.iterdir()] == ["weights"]


def change_tensors(path, change):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv_in.bias"), "missing conv_in.bias"),
        (lambda t: t.update(extra=np.zeros(1)), "unexpected extra"),
        (lambda t: t.update({"conv_in.bias": np.zeros(3)}), r"mis-shaped conv_in.bias \(3,\)"),
    ],
)
def test_entries_that_do_not_fit_are_named(directory, change, message):
    change_tensors(directory / "denoising_unet.safetensors", change)
    with pytest.raises(WeightsError, match=message):
        weights.load(directory)


def test_a_truncated_file_is_named(directory):
    path = directory / "vae.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"vae\.safetensors: truncated"):
        weights.load(directory)


def test_a_missing_file_is_named(directory):
    (directory / "vae.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"vae\.safetensors: no such file"):
        weights.load(directory)


@pytest.mark.parametrize("text", ["{", '{"modle": {}}', "[]", '{"model": {"unet": 3}}'])
def test_a_broken_config_is_named(directory, text):
    (directory / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        weights.load(directory)


def test_another_architecture_is_refused_by_name(directory):
    values = json.loads((directory / "config.json").read_text())
    values["model"]["unet"]["block_out_channels"] = [8, 32]
    (directory / "config.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="another architecture"):
        weights.load(directory)


def test_a_directory_may_hold_some_networks_only(directory):
    (directory / "image_encoder.safetensors").unlink()
    assert "image_encoder" not in weights.networks(directory)
    with pytest.raises(WeightsError, match=r"holds vae, .*, without image_encoder: add what is"):
        weights.load(directory)
    _, loaded = weights.load(directory, networks=("vae",))
    assert set(loaded) == {"vae"}


def test_every_tensor_may_have_its_own_dtype(directory, params):
    import ml_dtypes

    def change(tensors):
        tensors["conv_in.bias"] = tensors["conv_in.bias"].astype(np.float16)
        tensors["conv_in.kernel"] = tensors["conv_in.kernel"].astype(ml_dtypes.bfloat16)

    change_tensors(directory / "denoising_unet.safetensors", change)
    _, loaded = weights.load(directory, networks=("denoising_unet",))
    tree, before = loaded["denoising_unet"], params["denoising_unet"]
    assert {x.dtype for x in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
    expected = before["conv_in"]["kernel"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(tree["conv_in"]["kernel"], expected)


def test_settings_without_a_trace_in_the_shapes_are_compared(directory):
    model = weights.load_config(directory).model
    vae = dataclasses.replace(model.autoencoder, scaling_factor=0.5)
    other = dataclasses.replace(model, autoencoder=vae)
    with pytest.raises(WeightsError, match=r"vae is of another .*autoencoder\.scaling_factor is"):
        weights.load(directory, model=other, networks=("vae",))
    _, loaded = weights.load(directory, model=other, networks=("denoising_unet",))
    assert set(loaded) == {"denoising_unet"}


@pytest.mark.parametrize(
    ("section", "field", "value", "affected"),
    [
        ("motion_module", "max_positions", 24, {"motion_module"}),
        ("motion_module", "enabled", False, set()),  # stage 1 simply has none
        ("unet", "group_norm_scope", "over_frames", {"motion_module"}),  # one frame knows no scope
        ("unet", "num_attention_heads", 4, {"reference_unet", "denoising_unet"}),
        ("autoencoder", "scaling_factor", 0.5, {"vae"}),
        ("image_encoder", "hidden_act", "gelu", {"image_encoder"}),
        ("pose_guider", "kind", "controlnet", {"pose_guider"}),
    ],
)
def test_each_setting_changes_the_networks_it_belongs_to(section, field, value, affected):
    model = ModelConfig()
    part = dataclasses.replace(getattr(model, section), **{field: value})
    other = dataclasses.replace(model, **{section: part})
    found = {name: weights.differences(name, model, other) for name in NETWORKS}
    assert {name for name, fields in found.items() if fields} == affected
    assert all(fields == (f"{section}.{field}",) for fields in found.values() if fields)
