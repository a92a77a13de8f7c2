"""Motion LoRAs are merged into the motion modules."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert import ConvertError
from convert.commands.animatediff import lora_argument
from convert.reading import motion
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor

BLOCK = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0"
QUERY = f"{BLOCK}.attention_blocks.1.to_q.weight"
OUT = f"{BLOCK}.attention_blocks.0.to_out.0.weight"


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    shapes = {"q": ((2, 8), (8, 2)), "out": ((3, 8), (8, 3))}
    return {
        name: tuple(rng.standard_normal(shape).astype(np.float32) for shape in pair)
        for name, pair in shapes.items()
    }


def animatediff_names(q, out):
    place = f"{BLOCK}.attention_blocks"
    return {
        f"{place}.1.processor.to_q_lora.down.weight": q[0],
        f"{place}.1.processor.to_q_lora.up.weight": q[1],
        f"{place}.0.processor.to_out_lora.down.weight": out[0],
        f"{place}.0.processor.to_out_lora.up.weight": out[1],
    }


def diffusers_names(q, out):
    place = "unet.down_blocks.0.motion_modules.0.transformer_blocks.0"
    return {
        f"{place}.attn2.to_q.lora.down.weight": q[0],
        f"{place}.attn2.to_q.lora.up.weight": q[1],
        f"{place}.attn1.to_out.0.lora.down.weight": out[0],
        f"{place}.attn1.to_out.0.lora.up.weight": out[1],
    }


def peft_names(q, out):
    place = "unet.down_blocks.0.motion_modules.0.transformer_blocks.0"
    return {
        f"{place}.attn2.to_q.lora_A.weight": q[0],
        f"{place}.attn2.to_q.lora_B.weight": q[1],
        f"{place}.attn1.to_out.0.lora_A.default.weight": out[0],
        f"{place}.attn1.to_out.0.lora_B.default.weight": out[1],
    }


@pytest.mark.parametrize("names", [animatediff_names, diffusers_names, peft_names])
def test_every_spelling_adds_the_same_product(tmp_path, factors, names):
    save_file(names(**factors), tmp_path / "lora.safetensors")
    weight = np.ones((8, 8), np.float16)
    tensors = {key: Tensor.of(weight) for key in (QUERY, OUT, f"{BLOCK}.ff_norm.weight")}

    merged = motion.merged(tensors, open_source(tmp_path / "lora.safetensors"), 0.5)

    assert merged.keys() == tensors.keys()
    for key, (down, up) in ((QUERY, factors["q"]), (OUT, factors["out"])):
        expected = (1 + 0.5 * up @ down).astype(np.float16)
        np.testing.assert_array_equal(merged[key].read(), expected)
    assert merged[f"{BLOCK}.ff_norm.weight"].read() is weight


def test_alpha_scales_by_the_rank(tmp_path, factors):
    down, up = factors["q"]
    place = f"{BLOCK}.attention_blocks.1"
    save_file(
        {
            f"{place}.to_q.lora_A.weight": down,
            f"{place}.to_q.lora_B.weight": up,
            f"{place}.to_q.alpha": np.array(4, np.float32),
        },
        tmp_path / "lora.safetensors",
    )
    tensors = {QUERY: Tensor.of(np.zeros((8, 8), np.float32))}

    merged = motion.merged(tensors, open_source(tmp_path / "lora.safetensors"), 1.0)

    np.testing.assert_allclose(merged[QUERY].read(), 4 / 2 * up @ down, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{BLOCK}.attention_blocks.1.processor.to_q_lora.up.weight"), "only its"),
        (
            lambda s: s.update(
                {
                    f"{BLOCK}.attention_blocks.7.processor.to_q_lora.up.weight": np.ones((8, 1)),
                    f"{BLOCK}.attention_blocks.7.processor.to_q_lora.down.weight": np.ones((1, 8)),
                }
            ),
            "attention_blocks.7.to_q.weight, which these motion modules lack",
        ),
        (
            lambda s: s.update(
                {f"{BLOCK}.attention_blocks.1.processor.to_q_lora.up.weight": np.ones((9, 2))}
            ),
            r"\[9, 2\] times \[2, 8\] is not the shape \[8, 8\]",
        ),
    ],
)
def test_loras_of_something_else_are_refused(tmp_path, factors, change, message):
    state = animatediff_names(**factors)
    change(state)
    save_file(state, tmp_path / "lora.safetensors")
    tensors = {key: Tensor.of(np.ones((8, 8), np.float16)) for key in (QUERY, OUT)}

    with pytest.raises(ConvertError, match=message):
        motion.merged(tensors, open_source(tmp_path / "lora.safetensors"), 1.0)


def test_the_flag_merges_and_is_named_in_the_provenance(convert, directory, moore, tmp_path):
    key = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
    place = f"{key}.attention_blocks.0.processor.to_v_lora"
    rng = np.random.default_rng(0)
    up, down = rng.standard_normal((2, 32)).astype(np.float32)
    save_file(
        {f"{place}.up.weight": up[:, None], f"{place}.down.weight": down[None]},
        tmp_path / "zoom.safetensors",
    )

    convert(
        "animatediff",
        moore / "motion_module.pth",
        f"--motion-lora={tmp_path / 'zoom.safetensors'}:0.8",
        f"--architecture={directory}",
        f"--output={tmp_path / 'out'}",
    )

    before = load_file(directory / "motion_module.safetensors")
    after = load_file(tmp_path / "out" / "motion_module.safetensors")
    path = (
        "mid_block.motion_modules_0.temporal_transformer.transformer_blocks_0."
        "attention_blocks_0.to_v.kernel"
    )
    assert [k for k in before if not np.array_equal(before[k], after[k])] == [path]
    expected = before[path].astype(np.float32) + np.float32(0.8) * np.outer(down, up)
    np.testing.assert_array_equal(after[path], expected.astype(np.float16))
    text = (tmp_path / "out" / "config.json").read_text()
    assert "zoom.safetensors" in text
    assert "motion_module.pth" in text


@pytest.mark.parametrize(
    ("text", "path", "scale"),
    [("a.ckpt", "a.ckpt", 1.0), ("a.ckpt:0.8", "a.ckpt", 0.8), ("C:/a.ckpt", "C:/a.ckpt", 1.0)],
)
def test_a_scale_may_follow_the_file(text, path, scale):
    found = lora_argument(text)
    assert (str(found[0]), found[1]) == (path, scale)
