"""Names and shapes of published checkpoints: `python tests/convert/manifests/make.py`.

Networks that diffusers and transformers have are built on the meta device from the published
configurations; those of latent-diffusion and AnimateDiff are walked through as their constructors
do. Nothing is downloaded and no weights are involved.
"""

import gzip
import json
from pathlib import Path

HERE = Path(__file__).parent
Shapes = dict[str, list[int]]


def write(name: str, shapes: Shapes) -> None:
    text = json.dumps(shapes, separators=(",", ":"))
    path = HERE / f"{name}.json.gz"
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path.name}: {len(shapes)} tensors, {path.stat().st_size} bytes")


def shapes_of(module) -> Shapes:
    return {key: list(x.shape) for key, x in module.state_dict().items()}


def libraries() -> dict[str, Shapes]:
    """What a library builds."""
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, MotionAdapter, UNet2DConditionModel
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    }
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    with torch.device("meta"):
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
        clip = CLIPModel(
            CLIPConfig(
                text_config=CLIPTextConfig(**text).to_dict(),
                vision_config=CLIPVisionConfig(**vision).to_dict(),
                projection_dim=768,
            )
        )
        vae = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        networks = {
            "sd15_unet": shapes_of(UNet2DConditionModel(cross_attention_dim=768)),
            "sd15_vae": shapes_of(vae),
            "clip_full": shapes_of(clip),
            "clip_vision": shapes_of(tower),
            "controlnet_openpose": shapes_of(ControlNetModel(cross_attention_dim=768)),
            "motion_adapter_v2": shapes_of(MotionAdapter()),
            "motion_adapter_v3": shapes_of(MotionAdapter(use_motion_mid_block=False)),
        }
    # Buffers that these libraries once saved; published files hold them.
    networks["clip_vision"]["vision_model.embeddings.position_ids"] = [1, 257]
    networks["clip_full"]["vision_model.embeddings.position_ids"] = [1, 257]
    networks["clip_full"]["text_model.embeddings.position_ids"] = [1, 77]
    return networks


# --- CompVis/latent-diffusion -------------------------------------------------------------------


def affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}


def resnet(place: str, inside: int, outside: int) -> Shapes:
    return (
        affine(f"{place}.in_layers.0", inside)
        | affine(f"{place}.in_layers.2", outside, inside, 3, 3)
        | affine(f"{place}.emb_layers.1", outside, 1280)
        | affine(f"{place}.out_layers.0", outside)
        | affine(f"{place}.out_layers.3", outside, outside, 3, 3)
        | (affine(f"{place}.skip_connection", outside, inside, 1, 1) if inside != outside else {})
    )


def attention(place: str, width: int, context: int) -> Shapes:
    return {
        f"{place}.to_q.weight": [width, width],
        f"{place}.to_k.weight": [width, context],
        f"{place}.to_v.weight": [width, context],
        **affine(f"{place}.to_out.0", width, width),
    }


def transformer(place: str, width: int) -> Shapes:
    block = f"{place}.transformer_blocks.0"
    return (
        affine(f"{place}.norm", width)
        | affine(f"{place}.proj_in", width, width, 1, 1)
        | attention(f"{block}.attn1", width, width)
        | affine(f"{block}.ff.net.0.proj", 8 * width, width)
        | affine(f"{block}.ff.net.2", width, 4 * width)
        | attention(f"{block}.attn2", width, 768)
        | affine(f"{block}.norm1", width)
        | affine(f"{block}.norm2", width)
        | affine(f"{block}.norm3", width)
        | affine(f"{place}.proj_out", width, width, 1, 1)
    )


def ldm_unet() -> Shapes:
    """`UNetModel` of openaimodel.py with the numbers of v1-inference.yaml."""
    widths, layers, attended = (320, 640, 1280, 1280), 2, 3
    out = affine("time_embed.0", 1280, 320) | affine("time_embed.2", 1280, 1280)
    out |= affine("input_blocks.0.0", 320, 4, 3, 3)
    index, width, skips = 1, 320, [320]
    for level, new in enumerate(widths):
        for _ in range(layers):
            out |= resnet(f"input_blocks.{index}.0", width, new)
            width = new
            if level < attended:
                out |= transformer(f"input_blocks.{index}.1", width)
            skips.append(width)
            index += 1
        if level < len(widths) - 1:
            out |= affine(f"input_blocks.{index}.0.op", width, width, 3, 3)
            skips.append(width)
            index += 1
    out |= resnet("middle_block.0", width, width)
    out |= transformer("middle_block.1", width)
    out |= resnet("middle_block.2", width, width)
    index = 0
    for level in reversed(range(len(widths))):
        for layer in range(layers + 1):
            out |= resnet(f"output_blocks.{index}.0", width + skips.pop(), widths[level])
            width = widths[level]
            if level < attended:
                out |= transformer(f"output_blocks.{index}.1", width)
            if level and layer == layers:
                place = f"output_blocks.{index}.{2 if level < attended else 1}.conv"
                out |= affine(place, width, width, 3, 3)
            index += 1
    return out | affine("out.0", 320) | affine("out.2", 4, 320, 3, 3)


def vae_resnet(place: str, inside: int, outside: int) -> Shapes:
    return (
        affine(f"{place}.norm1", inside)
        | affine(f"{place}.conv1", outside, inside, 3, 3)
        | affine(f"{place}.norm2", outside)
        | affine(f"{place}.conv2", outside, outside, 3, 3)
        | (affine(f"{place}.nin_shortcut", outside, inside, 1, 1) if inside != outside else {})
    )


def vae_middle(place: str, width: int) -> Shapes:
    out = vae_resnet(f"{place}.block_1", width, width) | affine(f"{place}.attn_1.norm", width)
    for name in ("q", "k", "v", "proj_out"):
        out |= affine(f"{place}.attn_1.{name}", width, width, 1, 1)
    return out | vae_resnet(f"{place}.block_2", width, width)


def ldm_vae() -> Shapes:
    """`AutoencoderKL` of autoencoder.py with the numbers of v1-inference.yaml."""
    widths = (128, 256, 512, 512)
    out, width = affine("encoder.conv_in", 128, 3, 3, 3), 128
    for level, new in enumerate(widths):
        for layer in range(2):
            out |= vae_resnet(f"encoder.down.{level}.block.{layer}", width, new)
            width = new
        if level < 3:
            out |= affine(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    out |= vae_middle("encoder.mid", width) | affine("encoder.norm_out", width)
    out |= affine("encoder.conv_out", 8, width, 3, 3)
    out |= affine("decoder.conv_in", width, 4, 3, 3) | vae_middle("decoder.mid", width)
    for level in reversed(range(4)):
        for layer in range(3):
            out |= vae_resnet(f"decoder.up.{level}.block.{layer}", width, widths[level])
            width = widths[level]
        if level:
            out |= affine(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    out |= affine("decoder.norm_out", width) | affine("decoder.conv_out", 3, width, 3, 3)
    return out | affine("quant_conv", 8, 8, 1, 1) | affine("post_quant_conv", 4, 4, 1, 1)


def v1_5_pruned(clip_full: Shapes) -> Shapes:
    """The single file with its averaged copy, text encoder and schedule tables."""
    unet = ldm_unet()
    tables = [
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
        "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
    ]  # fmt: skip
    out: Shapes = {name: [1000] for name in tables}
    out |= {f"model.diffusion_model.{key}": shape for key, shape in unet.items()}
    out |= {f"model_ema.diffusion_model{k.replace('.', '')}": s for k, s in unet.items()}
    out |= {"model_ema.decay": [], "model_ema.num_updates": []}
    out |= {f"first_stage_model.{key}": shape for key, shape in ldm_vae().items()}
    text = {key: shape for key, shape in clip_full.items() if key.startswith("text_model.")}
    return out | {f"cond_stage_model.transformer.{key}": shape for key, shape in text.items()}


# --- IP-Adapter ---------------------------------------------------------------------------------


def ip_adapter(*, plus: bool) -> Shapes:
    """`ip_adapter.py` and `resampler.py` of tencent-ailab/IP-Adapter around SD 1.5's UNet."""
    out = {"image_proj.latents": [1, 16, 768]} if plus else {}
    for place in ("proj_in", "proj_out", "norm_out") if plus else ("proj", "norm"):
        shape = {"proj_in": (768, 1280), "proj_out": (768, 768), "proj": (3072, 1024)}
        out |= affine(f"image_proj.{place}", *shape.get(place, (768,)))
    for i in range(4) if plus else ():
        layer = f"image_proj.layers.{i}"
        out |= affine(f"{layer}.0.norm1", 768) | affine(f"{layer}.0.norm2", 768)
        out |= {f"{layer}.0.to_q.weight": [768, 768], f"{layer}.0.to_kv.weight": [1536, 768]}
        out |= {f"{layer}.0.to_out.weight": [768, 768], **affine(f"{layer}.1.0", 768)}
        out |= {f"{layer}.1.1.weight": [3072, 768], f"{layer}.1.3.weight": [768, 3072]}
    # Down, up, and last the mid block, as `attn_processors` lists them.
    widths = [320, 320, 640, 640, 1280, 1280, *[1280] * 3, *[640] * 3, *[320] * 3, 1280]
    for i, width in enumerate(widths):
        for name in ("to_k_ip", "to_v_ip"):
            out[f"ip_adapter.{2 * i + 1}.{name}.weight"] = [width, 768]
    return out


# --- AnimateDiff and Moore-AnimateAnyone --------------------------------------------------------


def motion_modules(rows: int, *, mid_block: bool) -> Shapes:
    """`VanillaTemporalModule` after every layer."""
    out: Shapes = {}
    places = [(f"down_blocks.{i}", j) for i in range(4) for j in range(2)]
    places += [(f"up_blocks.{i}", j) for i in range(4) for j in range(3)]
    places += [("mid_block", 0)] if mid_block else []
    widths = {"down_blocks": (320, 640, 1280, 1280), "up_blocks": (1280, 1280, 640, 320)}
    for place, index in places:
        side, _, level = place.partition(".")
        width = widths[side][int(level)] if level else 1280
        module = f"{place}.motion_modules.{index}.temporal_transformer"
        block = f"{module}.transformer_blocks.0"
        out |= affine(f"{module}.norm", width) | affine(f"{module}.proj_in", width, width)
        for i in range(2):
            out |= attention(f"{block}.attention_blocks.{i}", width, width)
            out[f"{block}.attention_blocks.{i}.pos_encoder.pe"] = [1, rows, width]
            out |= affine(f"{block}.norms.{i}", width)
        out |= affine(f"{block}.ff.net.0.proj", 8 * width, width)
        out |= affine(f"{block}.ff.net.2", width, 4 * width) | affine(f"{block}.ff_norm", width)
        out |= affine(f"{module}.proj_out", width, width)
    return out


def pose_guider() -> Shapes:
    widths = (16, 32, 96, 256)
    out = affine("conv_in", 16, 3, 3, 3)
    for i in range(3):
        out |= affine(f"blocks.{2 * i}", widths[i], widths[i], 3, 3)
        out |= affine(f"blocks.{2 * i + 1}", widths[i + 1], widths[i], 3, 3)
    return out | affine("conv_out", 320, 256, 3, 3)


if __name__ == "__main__":
    manifests = libraries()
    manifests["v1-5-pruned"] = v1_5_pruned(manifests["clip_full"])
    manifests["mm_sd_v15"] = motion_modules(24, mid_block=False)
    manifests["mm_sd_v15_v2"] = motion_modules(32, mid_block=True)
    manifests["v3_sd15_mm"] = motion_modules(32, mid_block=False)
    manifests["moore_pose_guider"] = pose_guider()
    manifests["ip-adapter_sd15"] = ip_adapter(plus=False)
    manifests["ip-adapter-plus_sd15"] = ip_adapter(plus=True)
    for manifest_name, manifest in manifests.items():
        write(manifest_name, manifest)
