"""What a file is: families of published weights, told by their tensors' names and shapes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from convert import ConvertError
from convert.reading import ldm, presets, spelling
from convert.reading.tensors import Tensor

Tensors = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of weights.

    Attributes:
      name: short name, which converters ask for.
      title: what people call it.
      command: command that converts it, with `FILE` for the file; empty where none does.
      refused: why none does.
    """

    name: str
    title: str
    command: str = ""
    refused: str = ""


_SD = "stable-diffusion FILE --output DIR"
_MOTION = "animatediff FILE --output DIR"
_MOORE = "animate-anyone FOLDER --output DIR"
_SD_I2V = "sd-i2v --{} FILE --output DIR"
_FACES = "it sees a face alone; ip-adapter_sd15 and ip-adapter-plus_sd15 see the whole picture"
_SD_ONLY = "only Stable Diffusion 1.x has the UNet of Animate Anyone"

UNKNOWN = Family("unknown", "unknown", refused="no family of weights this project knows")


def recognise(tensors: Tensors) -> Family:
    """The family of a state dict, as it is in its file; refused where its numbers are too short."""
    tensors = spelling.without_prefix(tensors, "module.")
    families = (recogniser(tensors) for recogniser in _RECOGNISERS)
    family = next(filter(None, families), UNKNOWN)
    if (family.command or family is UNKNOWN) and (short := short_numbers(tensors)):
        return dataclasses.replace(family, command="", refused=short)
    return family


def short_numbers(tensors: Tensors) -> str:
    """Why weights of eight bits and fewer are refused; empty where there are none.

    Programs that make them multiply by scales that each keeps in its own way, or by none.
    """
    short = [
        tensor.dtype.name
        for tensor in tensors.values()
        if re.match(r"float[468]_", tensor.dtype.name)
        or (tensor.dtype.name in ("int8", "uint8", "int4", "uint4") and len(tensor.shape) > 1)
    ]
    if not short:
        return ""
    kinds = " and ".join(sorted(set(short)))
    return (
        f"{len(short)} of its {len(tensors)} tensors are {kinds}; use the version in float16, "
        "bfloat16 or float32"
    )


def require(tensors: Tensors, path: object, names: Sequence[str], wanted: str) -> Family:
    """The family of a file that must be one of those named.

    Raises:
      ConvertError: it is another; the message says which, and what converts it.
    """
    family = recognise(tensors)
    if family.name in names and not family.refused:
        return family
    if family.refused and family is not UNKNOWN:
        raise ConvertError(f"{path}: is {family.title}: {family.refused}")
    hint = f"; python -m convert {family.command} converts it" if family.command else ""
    what = "not recognised" if family is UNKNOWN else f"is {family.title}"
    raise ConvertError(f"{path}: {what}, where {wanted} is wanted{hint}")


def width(tensors: Tensors, key: str, axis: int = 0) -> int:
    """Size of one axis of a tensor; 0 where there is none."""
    if key not in tensors or axis >= len(tensors[key].shape):
        return 0
    return tensors[key].shape[axis]


def has(tensors: Tensors, pattern: str) -> bool:
    """Whether some name matches a regular expression anywhere."""
    return any(re.search(pattern, key) for key in tensors)


def _single_file(tensors: Tensors) -> Family | None:
    """Checkpoints of Stability and CompVis code."""
    prefix = ldm.UNET
    if f"{prefix}input_blocks.0.0.weight" not in tensors:
        return None
    unet = ldm.part(tensors, prefix)
    if has(unet, r"time_stack|time_mixer"):
        return Family("svd", "Stable Video Diffusion", refused=_SD_ONLY)
    context = "1.1.transformer_blocks.0.attn2.to_k.weight"
    dim = width(unet, f"input_blocks.{context}", 1)
    if has(unet, r"^label_emb\.") or has(tensors, r"^conditioner\."):
        return Family("sdxl", "Stable Diffusion XL, single file", refused=_SD_ONLY)
    return _stable_diffusion(dim, width(unet, "input_blocks.0.0.weight", 1), "single file")


def _stable_diffusion(context: int, channels: int, form: str) -> Family:
    if context == 1024:
        return Family("sd2", f"Stable Diffusion 2.x, {form}", refused=_SD_ONLY)
    if channels in (5, 8, 9):
        kind = {5: "depth", 8: "InstructPix2Pix", 9: "inpainting"}[channels]
        return Family(
            "sd1-other",
            f"Stable Diffusion 1.x for {kind}, {form}",
            refused=f"its UNet takes {channels} channels where 4 are wanted",
        )
    name = "sd1-ldm" if form == "single file" else "sd1-unet"
    return Family(name, f"Stable Diffusion 1.x, {form}", _SD)


def _ip_adapter(tensors: Tensors) -> Family | None:
    if not (has(tensors, r"^image_proj\.") and has(tensors, r"^ip_adapter\.\d+\.to_k_ip\.")):
        return None
    if has(tensors, r"^ip_adapter\.\d+\.to_\w+_lora\.|^image_proj\.perceiver_resampler\."):
        return Family("ip-adapter-face-id", "IP-Adapter FaceID", refused=_FACES)
    if has(tensors, r"^image_proj\.proj\.\d"):
        return Family("ip-adapter-full", "IP-Adapter full-face or FaceID", refused=_FACES)
    context = {width(tensors, key, 1) for key in tensors if key.endswith(".to_k_ip.weight")}
    if context == {2048}:
        return Family("ip-adapter-sdxl", "IP-Adapter for SDXL", refused=_SD_ONLY)
    plus = " Plus" if "image_proj.latents" in tensors else ""
    return Family("ip-adapter", f"IP-Adapter{plus} for SD 1.x", _SD_I2V.format("ip-adapter"))


def _prompt(tensors: Tensors) -> Family | None:
    if set(tensors) != {"prompt_embeds"}:
        return None
    return Family("prompt", "encoding of a prompt", _SD_I2V.format("prompt"))


def _lora(tensors: Tensors) -> Family | None:
    if not has(tensors, r"lora[_.](down|up|A|B)\b|lora\.(down|up)\b"):
        return None
    if all("motion_modules" in key for key in tensors):
        title = "motion LoRA of AnimateDiff"
        return Family("motion-lora", title, f"{_MOTION} --motion-lora THIS_FILE")
    return Family("lora", "LoRA of spatial layers", refused="only motion LoRAs can be merged")


def _control_net(tensors: Tensors) -> Family | None:
    diffusers = has(tensors, r"^controlnet_cond_embedding\.")
    single = has(tensors, r"^control_model\.input_hint_block\.")
    if not (diffusers or single):
        return None
    if has(tensors, r"motion_modules"):
        return Family(
            "sparse-control", "SparseCtrl of AnimateDiff v3", refused="no use for it here"
        )
    if has(tensors, r"add_embedding|label_emb"):
        return Family("controlnet-sdxl", "ControlNet of SDXL", refused=_SD_ONLY)
    form = "single file" if single else "diffusers"
    return Family(
        "controlnet", f"ControlNet of SD 1.x, {form}", "controlnet-openpose FILE --output DIR"
    )


def _resnet(tensors: Tensors) -> Family | None:
    if not has(tensors, r"^layer4\.0\.bn1\.") or "conv1.weight" not in tensors:
        return None
    if "layer1.0.conv3.weight" not in tensors:
        return Family(
            "resnet-basic", "ResNet-18 or 34", refused="only ResNets of bottlenecks serve"
        )
    return Family("resnet", "ResNet of torchvision", "resnet FILE --output DIR")


def _guidance_encoder(tensors: Tensors) -> Family | None:
    if has(tensors, r"^guidance_attention\.") and has(tensors, r"^blocks\.0\."):
        return Family(
            "champ-guidance",
            "guidance encoder of Champ",
            refused="its attention layers have no counterpart in a Pose Guider",
        )
    return None


def _pose_guider(tensors: Tensors) -> Family | None:
    modules = {key.rsplit(".", 1)[0] for key in tensors}
    if {"conv_out", "blocks.0"} <= modules and all(
        re.fullmatch(r"conv_in|conv_out|blocks\.\d+", name) for name in modules
    ):
        whose = "Moore-AnimateAnyone or MusePose" if "conv_in" in modules else "the paper's form"
        return Family("pose-guider", f"Pose Guider of {whose}", _MOORE)
    return None


def _unet(tensors: Tensors) -> Family | None:
    """UNets under diffusers' names, with and without motion modules."""
    if "conv_in.weight" not in tensors or not has(tensors, r"^up_blocks\.0\.resnets\."):
        return None
    if has(tensors, r"^encoder\.|spatial_res_block"):
        return Family("svd", "Stable Video Diffusion UNet", refused=_SD_ONLY)
    if has(tensors, r"^add_embedding\."):
        return Family("sdxl", "Stable Diffusion XL UNet", refused=_SD_ONLY)
    attn2 = "attentions.0.transformer_blocks.0.attn2.to_k.weight"
    context = width(tensors, f"down_blocks.0.{attn2}", 1) or width(tensors, f"mid_block.{attn2}", 1)
    if has(tensors, r"\.motion_modules\."):
        return Family("unet-3d", "denoising UNet of Moore's lineage with motion modules", _MOORE)
    if "conv_out.weight" not in tensors and "conv_norm_out.weight" not in tensors:
        return Family("reference-unet", "ReferenceNet of Moore-AnimateAnyone's lineage", _MOORE)
    return _stable_diffusion(context, width(tensors, "conv_in.weight", 1), "diffusers UNet")


def _motion_module(tensors: Tensors) -> Family | None:
    if not tensors or not has(tensors, r"^(down_blocks|up_blocks|mid_block)\..*motion_modules\."):
        return None
    if not all(re.match(r"(down_blocks|up_blocks|mid_block|conv_in)\b", key) for key in tensors):
        return None
    if has(tensors, r"^conv_in\."):
        return Family("pia", "PIA motion adapter", refused="its conv_in has no counterpart here")
    deepest = {
        width(tensors, key) for key in tensors if re.match(r"down_blocks\.2\..*\.norm\.", key)
    }
    if not has(tensors, r"^down_blocks\.3\.") and deepest == {1280}:
        return Family("animatediff-sdxl", "AnimateDiff for SDXL", refused=_SD_ONLY)
    adapter = not has(tensors, r"temporal_transformer")
    mid = has(tensors, r"^mid_block\.")
    rows = motion_positions(tensors)
    if mid and rows == presets.MUSEPOSE_POSITIONS:
        return Family("motion-module", "motion module of MusePose", _MOORE)
    version = "v2" if mid else "v1" if rows == 24 else "v3"
    form = "diffusers MotionAdapter" if adapter else "motion module"
    known = f", {rows} positions" if rows else ""
    lineage = " (or Moore-AnimateAnyone's)" if mid and not adapter else ""
    return Family("motion-module", f"AnimateDiff {version} {form}{lineage}{known}", _MOTION)


def motion_positions(tensors: Tensors) -> int:
    """Rows of a motion module's position tables; 0 where the file holds none."""
    tables = (key for key in tensors if re.search(r"(pos_encoder|pos_embed)\.pe$", key))
    return next((width(tensors, key, 1) for key in tables), 0)


def _clip(tensors: Tensors) -> Family | None:
    if has(tensors, r"^(visual\.)?transformer\.resblocks\.|^visual\."):
        return Family(
            "openai-clip",
            "CLIP under OpenAI's or OpenCLIP's names",
            refused="use the transformers folder (openai/clip-vit-large-patch14)",
        )
    if "vision_model.embeddings.class_embedding" in tensors:
        form = "full model" if has(tensors, r"^text_model\.") else "vision tower"
        if "visual_projection.weight" not in tensors:
            return Family(
                "clip-without-projection",
                "CLIP vision tower without projection",
                refused="visual_projection.weight is missing; use the full model",
            )
        return Family("clip", f"CLIP {form}", "image-encoder FILE --output DIR")
    if has(tensors, r"^text_model\."):
        return Family("clip-text", "CLIP text encoder", _SD_I2V.format("prompt"))
    return None


def _vae(tensors: Tensors) -> Family | None:
    keys = spelling.without_prefix(ldm.part(tensors, ldm.VAE) or tensors, "module.")
    if "decoder.conv_in.weight" not in keys or "encoder.conv_in.weight" not in keys:
        return None
    if has(keys, r"time_mixer|time_stack|temporal"):
        return Family("svd-vae", "video VAE", refused=_SD_ONLY)
    if "quant_conv.weight" not in keys:
        channels = width(keys, "decoder.conv_in.weight", 1)
        title = f"VAE of {channels} channels without quant_conv, as of FLUX or SD 3"
        return Family("other-vae", title, refused=_SD_ONLY)
    form = "latent-diffusion" if has(keys, r"^encoder\.down\.") else "diffusers"
    return Family("vae", f"VAE of Stable Diffusion, {form}", _SD)


_RECOGNISERS: tuple[Callable[[Tensors], Family | None], ...] = (
    _single_file,
    _ip_adapter,
    _prompt,
    _lora,
    _control_net,
    _resnet,
    _guidance_encoder,
    _pose_guider,
    _unet,
    _motion_module,
    _clip,
    _vae,
)
