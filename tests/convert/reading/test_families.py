"""Files are recognised by their names and shapes."""

import numpy as np
import pytest

from convert import ConvertError
from convert.reading import families
from convert.reading.tensors import Tensor


def tensors(shapes):
    return {key: Tensor(tuple(shape), np.dtype(np.float16), None) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "family", "title"),
    [
        ("v1-5-pruned", "sd1-ldm", "Stable Diffusion 1.x, single file"),
        ("sd15_unet", "sd1-unet", "Stable Diffusion 1.x, diffusers UNet"),
        ("sd15_vae", "vae", "VAE of Stable Diffusion, diffusers"),
        ("clip_full", "clip", "CLIP full model"),
        ("clip_vision", "clip", "CLIP vision tower"),
        ("controlnet_openpose", "controlnet", "ControlNet of SD 1.x, diffusers"),
        ("mm_sd_v15", "motion-module", "AnimateDiff v1 motion module, 24 positions"),
        (
            "mm_sd_v15_v2",
            "motion-module",
            "AnimateDiff v2 motion module (or Moore-AnimateAnyone's), 32 positions",
        ),
        ("v3_sd15_mm", "motion-module", "AnimateDiff v3 motion module, 32 positions"),
        (
            "motion_adapter_v2",
            "motion-module",
            "AnimateDiff v2 diffusers MotionAdapter, 32 positions",
        ),
        ("moore_pose_guider", "pose-guider", "Pose Guider of Moore-AnimateAnyone or MusePose"),
        ("ip-adapter_sd15", "ip-adapter", "IP-Adapter for SD 1.x"),
        ("ip-adapter-plus_sd15", "ip-adapter", "IP-Adapter Plus for SD 1.x"),
    ],
)
def test_published_checkpoints(manifest, name, family, title):
    found = families.recognise(tensors(manifest(name)))
    assert (found.name, found.title) == (family, title)
    assert found.command
    prefixed = {f"module.{key}": shape for key, shape in manifest(name).items()}
    assert families.recognise(tensors(prefixed)) == found


def test_the_references_lack_of_output_layers_tells_it(manifest):
    shapes = manifest("sd15_unet")
    reference = {k: s for k, s in shapes.items() if not k.startswith(("conv_norm_out", "conv_out"))}
    assert families.recognise(tensors(reference)).name == "reference-unet"
    merged = {**shapes, **manifest("mm_sd_v15_v2")}
    assert families.recognise(tensors(merged)).name == "unet-3d"


LDM = "model.diffusion_model."
CROSS = "1.1.transformer_blocks.0.attn2.to_k.weight"
DIFFUSERS = {"conv_in.weight": (320, 4, 3, 3), "up_blocks.0.resnets.0.conv1.weight": (1, 1, 3, 3)}
LORA = "attn1.processor.to_q_lora.down.weight"


@pytest.mark.parametrize(
    ("shapes", "title"),
    [
        (
            {f"{LDM}input_blocks.0.0.weight": (320, 4, 3, 3), f"{LDM}label_emb.0.0.weight": (1, 1)},
            "Stable Diffusion XL, single file",
        ),
        (
            {
                f"{LDM}input_blocks.0.0.weight": (320, 4, 3, 3),
                f"{LDM}input_blocks.{CROSS}": (320, 1024),
            },
            "Stable Diffusion 2.x, single file",
        ),
        (
            {f"{LDM}input_blocks.0.0.weight": (320, 9, 3, 3)},
            "Stable Diffusion 1.x for inpainting, single file",
        ),
        (
            {
                f"{LDM}input_blocks.0.0.weight": (320, 8, 3, 3),
                f"{LDM}input_blocks.1.0.time_stack.in_layers.0.weight": (1,),
            },
            "Stable Video Diffusion",
        ),
        (
            {**DIFFUSERS, "add_embedding.linear_1.weight": (1280, 2816)},
            "Stable Diffusion XL UNet",
        ),
        (
            {
                **DIFFUSERS,
                "conv_out.weight": (4, 320, 3, 3),
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
            },
            "Stable Diffusion 2.x, diffusers UNet",
        ),
        (
            {f"down_blocks.{i}.motion_modules.0.norm.weight": (320 * 2**i,) for i in range(3)},
            "AnimateDiff for SDXL",
        ),
        ({f"down_blocks.0.attentions.0.{LORA}": (4, 320)}, "LoRA of spatial layers"),
        ({"visual.conv1.weight": (1, 1, 1, 1)}, "CLIP under OpenAI's or OpenCLIP's names"),
        (
            {"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)},
            "VAE of 16 channels without quant_conv, as of FLUX or SD 3",
        ),
        (
            {"guidance_attention.norm.weight": (1,), "blocks.0.weight": (1, 1, 3, 3)},
            "guidance encoder of Champ",
        ),
        (
            {"image_proj.norm.weight": (2048,), "ip_adapter.1.to_k_ip.weight": (640, 2048)},
            "IP-Adapter for SDXL",
        ),
        (
            {
                "image_proj.norm.weight": (768,),
                "ip_adapter.0.to_q_lora.down.weight": (128, 320),
                "ip_adapter.1.to_k_ip.weight": (320, 768),
            },
            "IP-Adapter FaceID",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(shapes, title):
    family = families.recognise(tensors(shapes))
    assert family.title == title
    assert family.refused
    with pytest.raises(ConvertError) as error:
        families.require(tensors(shapes), "file.ckpt", ("sd1-unet",), "a UNet")
    assert str(error.value) == f"file.ckpt: is {title}: {family.refused}"


def test_the_wrong_command_is_told_the_right_one(manifest):
    with pytest.raises(ConvertError, match="convert animatediff FILE"):
        families.require(tensors(manifest("mm_sd_v15")), "mm.ckpt", ("vae",), "a VAE")


def test_anything_else_is_unknown():
    assert families.recognise(tensors({"layer.0.weight": (3, 3)})) is families.UNKNOWN
    assert families.recognise({}) is families.UNKNOWN
