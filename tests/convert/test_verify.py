"""`convert verify` passes true cases and names whatever was tampered with."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from aa_jax import weights
from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    UNetConfig,
)
from aa_jax.models import animate_anyone, torch_names
from convert.__main__ import main

TESTS = Path(__file__).parents[1]
GOLDEN = {
    "ddim": TESTS / "diffusion" / "golden" / "ddim",
    "skeleton": TESTS / "pose" / "golden" / "skeleton",
}


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / folder.name)


def change(path, **arrays):
    """Rewrites an .npz file with some arrays replaced, or left out where they are None."""
    with np.load(path) as file:
        changed = {**file, **{name.replace("__", "/"): x for name, x in arrays.items()}}
    np.savez(path, **{name: x for name, x in changed.items() if x is not None})


def change_meta(folder, **fields):
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# --- cases of the original implementation ---------------------------------------------------------


@pytest.fixture
def context(tmp_path):
    """Window schedules of Moore-AnimateAnyone a914ef3."""
    folder = tmp_path / "context"
    folder.mkdir()
    shutil.copy(TESTS / "sampling" / "golden" / "context" / "uniform.json", folder)
    count = len(json.loads((folder / "uniform.json").read_text())["cases"])
    meta = {"case": "context", "file": "uniform.json", "n_cases": count}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def pose_guider(tmp_path):
    """A Pose Guider of Moore-AnimateAnyone a914ef3."""
    golden, folder = TESTS / "models" / "golden" / "pose_guider", tmp_path / "pose_guider"
    folder.mkdir()
    widths = "16_32_64_128"
    with np.load(golden / f"weights_{widths}.npz") as state:
        save_file(dict(state), folder / "guider.safetensors")
    shutil.copy(golden / "inputs.npz", folder)
    with np.load(golden / "outputs.npz") as outputs:
        kept = {name: x for name, x in outputs.items() if name.startswith(widths)}
    np.savez(folder / "outputs.npz", **kept)
    arrays = listed(folder)
    what = "output of blocks.4 for pose_u8_0, sample 0 frame 0 only"
    arrays["outputs.npz"][f"{widths}/tap/blocks.4"]["what"] = what
    names = [f"{widths}/pose_u8_{i}" for i in (0, 1)]
    meta = {
        "case": "pose_guider",
        "weights": {
            widths: {
                "file": "guider.safetensors",
                "block_out_channels": [16, 32, 64, 128],
                "conditioning_embedding_channels": 32,
            }
        },
        "runs": [{"name": name, "output": f"outputs.npz:{name}"} for name in names],
        "arrays": arrays,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def listed(folder):
    """What `meta.json` says of the arrays there are."""
    arrays = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays[path.name] = {
                name: {"shape": list(x.shape), "dtype": str(x.dtype)} for name, x in file.items()
            }
    return arrays


def test_true_cases_pass(verify, context, pose_guider):
    code, last, short = verify(*GOLDEN.values(), context, pose_guider)
    assert short == []
    assert code == 0
    schedules = json.loads((context / "uniform.json").read_text())
    lists = len(schedules["cases"]) + len(schedules["ordered_halving"])
    with np.load(GOLDEN["ddim"] / "trajectories.npz") as arrays:
        trajectories = sum(not name.endswith(("init", "outputs")) for name in arrays)
    # per scheduler: two tables, four results of the forward process; twice the last entry
    numbers = 3 * (2 + 4) + 2 + trajectories
    pictures = len(list(GOLDEN["skeleton"].glob("*.png")))
    detected, colors, whole_body = 4, 1, 2
    total = lists + numbers + pictures + detected + colors + whole_body + 3
    assert last == f"{total} arrays compared, 0 fell short"


def test_tolerances_can_only_tighten(verify, pose_guider):
    assert verify(pose_guider, "--atol=1")[0] == 0
    code, last, short = verify(pose_guider, "--atol=1e-12", "--failures")
    assert code == 1
    assert last == "3 arrays compared, 3 fell short"
    assert "outputs.npz:16_32_64_128/pose_u8_0[" in short[0]
    assert short[0].endswith("rtol 0, atol 1e-12")


def test_tolerance_that_is_none_is_a_mistake(verify, pose_guider, capsys):
    assert main(["verify", str(pose_guider), "--rtol=-1"]) == 2
    assert "must be a number from 0 up, got -1" in capsys.readouterr().err


# --- what was tampered with is named --------------------------------------------------------------


def assert_short(result, *names):
    """Exactly these things fell short."""
    code, last, short = result
    assert code == 1
    assert last.endswith(f", {len(names)} fell short")
    for line, name in zip(short, names, strict=True):
        assert name in line


def test_changed_output(verify, pose_guider):
    with np.load(pose_guider / "outputs.npz") as arrays:
        output = arrays["16_32_64_128/pose_u8_1"]
    output[1, 3, 0, 2, 1] += 1e-3
    change(pose_guider / "outputs.npz", **{"16_32_64_128/pose_u8_1": output})
    assert_short(verify(pose_guider), "outputs.npz:16_32_64_128/pose_u8_1[1][3][0][2][1]")


def test_output_that_is_no_number(verify, pose_guider):
    with np.load(pose_guider / "outputs.npz") as arrays:
        output = arrays["16_32_64_128/tap/blocks.4"]
    output[0, 5, 0, 1, 1] = np.nan
    change(pose_guider / "outputs.npz", **{"16_32_64_128/tap/blocks.4": output})
    assert_short(verify(pose_guider), "outputs.npz:16_32_64_128/tap/blocks.4[0][5][0][1][1]")


def test_changed_weight(verify, pose_guider):
    with np.load(TESTS / "models/golden/pose_guider/weights_16_32_64_128.npz") as state:
        state = {name: x.astype(np.float32) for name, x in state.items()}
    state["blocks.5.bias"][7] += 0.01
    save_file(state, pose_guider / "guider.safetensors")
    assert_short(verify(pose_guider), "/pose_u8_0[", "/pose_u8_1[")


def test_weights_with_another_checksum(verify, pose_guider):
    import bz2

    path = pose_guider / "guider.safetensors"
    (pose_guider / "guider.safetensors.bz2").write_bytes(bz2.compress(path.read_bytes()))
    meta = json.loads((pose_guider / "meta.json").read_text())
    entry = meta["weights"]["16_32_64_128"]
    entry["file"] = "guider.safetensors.bz2"
    entry["sha256_unpacked"] = hashlib.sha256(path.read_bytes()).hexdigest()
    change_meta(pose_guider, weights=meta["weights"])
    assert verify(pose_guider)[0] == 0
    entry["sha256_unpacked"] = "0" * 64
    change_meta(pose_guider, weights=meta["weights"])
    assert_short(verify(pose_guider), "guider.safetensors.bz2: other content than meta.json's")


def test_missing_weight(verify, pose_guider):
    with np.load(TESTS / "models/golden/pose_guider/weights_16_32_64_128.npz") as state:
        save_file(
            {name: x for name, x in state.items() if name != "blocks.2.bias"},
            pose_guider / "guider.safetensors",
        )
    code, _, short = verify(pose_guider)
    assert code == 1
    assert "pose_guider: missing blocks.2.bias" in short[0]


def test_changed_table(verify, tmp_path):
    folder = copied(GOLDEN["ddim"], tmp_path)
    with np.load(folder / "tables.npz") as arrays:
        betas = arrays["v1/betas"]
    betas[3] *= 1.01
    change(folder / "tables.npz", v1__betas=betas)
    assert_short(verify(folder), "tables.npz:v1/betas[3]")


def test_array_missing_and_array_unexplained(verify, tmp_path):
    folder = copied(GOLDEN["ddim"], tmp_path)
    change(folder / "forward.npz", v1__snr=None, v3__snr=np.ones(2, np.float32))
    assert_short(
        verify(folder),
        "forward.npz:v1/snr: missing",
        "forward.npz:v3/snr: not listed in meta.json",
        "v1: forward.npz:v1/snr is missing",
        "forward.npz:v1/min_snr_weights_gamma5: no run explains this array",
    )


def test_array_that_no_run_explains(verify, pose_guider):
    np.savez(pose_guider / "more.npz", x=np.ones(1))
    assert_short(verify(pose_guider), "more.npz: meta.json does not say what this file is")
    arrays = json.loads((pose_guider / "meta.json").read_text())["arrays"]
    change_meta(pose_guider, arrays=arrays | {"more.npz": listed(pose_guider)["more.npz"]})
    assert_short(verify(pose_guider), "more.npz:x: no run explains this array")


def test_array_of_another_dtype(verify, tmp_path):
    folder = copied(GOLDEN["ddim"], tmp_path)
    with np.load(folder / "tables.npz") as arrays:
        betas = arrays["v2/betas"]
    change(folder / "tables.npz", v2__betas=betas.astype(np.float64))
    assert_short(verify(folder), "tables.npz:v2/betas: is float64 [1000], not float32 [1000]")


def test_truncated_file(verify, tmp_path):
    folder = copied(GOLDEN["ddim"], tmp_path)
    content = (folder / "tables.npz").read_bytes()
    (folder / "tables.npz").write_bytes(content[: len(content) // 2])
    code, _, short = verify(folder)
    assert code == 1
    assert "tables.npz: truncated or no .npz file" in short[0]


def test_changed_window(verify, context):
    path = context / "uniform.json"
    schedules = json.loads(path.read_text())
    schedules["cases"][7]["windows"][0][0] += 1
    schedules["ordered_halving"]["3"] = 0.5
    path.write_text(json.dumps(schedules))
    assert_short(verify(context), "ordered_halving[3]: found 0.75, expected 0.5", "cases[7]")


def test_window_list_left_out(verify, context):
    path = context / "uniform.json"
    schedules = json.loads(path.read_text())
    del schedules["cases"][7]
    path.write_text(json.dumps(schedules))
    assert_short(verify(context), "uniform.json:cases: 66 cases, not 67")


def test_changed_picture(verify, tmp_path):
    folder = copied(GOLDEN["skeleton"], tmp_path)
    picture = np.array(Image.open(folder / "portrait.png"))
    picture[5, 4, 2] = 1
    Image.fromarray(picture).save(folder / "portrait.png")
    Image.fromarray(picture).save(folder / "new.png")
    assert_short(
        verify(folder), "portrait.png[5][4][2]", "new.png: meta.json does not list this picture"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"case": "audio"}, "unknown kind of case 'audio'"),
        ({"eta": 0.5}, "eta must be 0"),
        ({"schedulers": {"v2": {"kwargs": {"thresholding": True}}}}, "thresholding has no counter"),
    ],
)
def test_unknown_kinds_and_options(verify, tmp_path, fields, message):
    folder = copied(GOLDEN["ddim"], tmp_path)
    change_meta(folder, **fields)
    code, _, short = verify(folder)
    assert code == 1
    assert any(message in line for line in short)


def test_folder_without_case(verify, tmp_path):
    assert_short(verify(tmp_path), "meta.json: no such file; a case folder holds meta.json")
    (tmp_path / "meta.json").write_text("{")
    assert_short(verify(tmp_path), "cannot be read as JSON")


def test_one_broken_case_does_not_hide_the_next(verify, tmp_path, context):
    code, last, short = verify(tmp_path / "none", context)
    assert code == 1
    assert len(short) == 1
    assert not last.startswith("0 arrays")


# --- UNets ----------------------------------------------------------------------------------------

MODEL = ModelConfig(
    unet=UNetConfig(
        block_out_channels=(8,),
        layers_per_block=1,
        attention_levels=(True,),
        num_attention_heads=2,
        cross_attention_dim=6,
        norm_num_groups=4,
    ),
    motion_module=MotionModuleConfig(enabled=False),
    pose_guider=PoseGuiderConfig(kind="controlnet", block_out_channels=(4, 8)),
    autoencoder=AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4),
    image_encoder=ImageEncoderConfig(projection_dim=6),
)


def draw(*shape, seed=0, std=1.0):
    return (std * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def unet_case(tmp_path_factory):
    """A case whose numbers our own training-time model computed: one sample, one frame."""
    folder = tmp_path_factory.mktemp("unets") / "unet_stage1_own"
    folder.mkdir()
    names = ("reference_unet", "denoising_unet", "pose_guider")
    seeds = iter(range(10_000))
    params = jax.tree.map(
        lambda x: draw(*x.shape, seed=next(seeds), std=0.2), weights.abstract_params(MODEL, names)
    )
    for name, tree in params.items():
        save_file(torch_names.to_torch(tree), folder / f"{name}.safetensors")
    inputs = {
        "ref_latents": draw(2, 4, 4, 6),
        "noisy_latents": draw(2, 4, 1, 4, 6, seed=1),
        "clip_embeds": draw(2, 1, 6, seed=2),
        "pose_u8": np.random.default_rng(3).integers(0, 256, (2, 3, 1, 8, 12), np.uint8),
    }
    np.savez(folder / "inputs_4x6.npz", **inputs)
    one = {name: jnp.asarray(np.moveaxis(x[:1], 1, -1)) for name, x in inputs.items()}

    def predict(conditioned):
        return animate_anyone.predict(
            animate_anyone.Networks.create(MODEL),
            params,
            noisy_latents=one["noisy_latents"],
            timesteps=jnp.asarray([613]),
            image_embeds=jnp.asarray(inputs["clip_embeds"][:1]),
            reference_latents=one["ref_latents"],
            pose_pictures=one["pose_u8"].astype(jnp.float32) / 255,
            condition_mask=conditioned[None],
        )

    predict = jax.jit(predict)
    without, conditional = (np.moveaxis(predict(jnp.bool_(flag)), -1, 1) for flag in (False, True))
    outputs = {
        "b1_4x6_nocfg": conditional,
        "b1_4x6_cfg": np.concatenate([without, conditional]),
    }
    np.savez(folder / "outputs.npz", **outputs)
    meta = {
        "case": "unet_stage1_own",
        "weights": {name: f"{name}.safetensors" for name in names},
        "unet_config": {
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [8],
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "cross_attention_dim": 6,
            "norm_num_groups": 4,
        },
        "unet_additional_kwargs": {"use_motion_module": False},
        "runs": [
            {
                "name": name,
                "timesteps_per_sample": [613],
                "classifier_free_guidance": not name.endswith("nocfg"),
                "bank_dtype": "float32",
                "inputs": "inputs_4x6.npz, first 1 of the batch axis",
                "output": f"outputs.npz:{name}",
            }
            for name in outputs
        ],
        "arrays": listed(folder),
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_runs_of_unets_are_repeated(verify, unet_case):
    code, last, short = verify(unet_case)
    assert short == []
    assert (code, last) == (0, "2 arrays compared, 0 fell short")


def test_changed_input_and_unknown_runs(verify, unet_case, tmp_path):
    folder = copied(unet_case, tmp_path)
    with np.load(folder / "inputs_4x6.npz") as arrays:
        latents = arrays["ref_latents"]
    latents[0, 0] += 0.5
    change(folder / "inputs_4x6.npz", ref_latents=latents)
    runs = json.loads((folder / "meta.json").read_text())["runs"]
    change_meta(folder, runs=[*runs, runs[0] | {"name": "audio_b1_4x6"}])
    # the unconditional half never sees the reference
    assert_short(
        verify(folder),
        "outputs.npz:b1_4x6_nocfg[",
        "outputs.npz:b1_4x6_cfg[1][",
        "audio_b1_4x6: runs: audio_b1_4x6 is of no known kind",
    )


def test_other_architecture_is_refused(verify, unet_case, tmp_path):
    folder = copied(unet_case, tmp_path)
    config = json.loads((folder / "meta.json").read_text())["unet_config"]
    change_meta(folder, unet_config=config | {"use_linear_projection": True})
    _, last, short = verify(folder)
    assert last.startswith("0 arrays compared")
    assert "unet_config.use_linear_projection=True: only False is supported" in short[0]
