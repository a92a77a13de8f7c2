"""The baseline "SD-I2V" of Tables 1 to 3: Stable Diffusion with parts that others have published.

    python -m convert sd-i2v --stable-diffusion sd15 --controlnet control_v11p_sd15_openpose \\
      --ip-adapter ip-adapter_sd15.safetensors --image-encoder image_encoder \\
      --motion-module mm_sd_v15_v2.ckpt --output start
    python sample.py --weights start --reference person.png --poses poses.npz
    python train.py --config configs/baselines/sd_i2v.py:stage1 --config.init.weights=start
    python train.py --config configs/baselines/sd_i2v.py:stage2

The pose comes from a ControlNet fed the skeleton pictures, the reference from IP-Adapter, whose
attention stands beside that to a prompt, motion from AnimateDiff's modules. Stage 1 fine-tunes the
UNet, ControlNet and IP-Adapter on single frames, stage 2 the motion modules. The prompt is empty
and frozen. For ip-adapter-plus_sd15 add `--config.model.ip_adapter.projection=resampler
--config.model.ip_adapter.tokens=16`.

In the puppet world, which has none of these files, all but the VAE learns from random numbers, the
prompt too:

    python train.py --config configs/baselines/sd_i2v.py
    python train.py --config configs/baselines/sd_i2v.py:puppets_stage2

Cost: more than `reference_net` per step of sampling, less at the beginning: the ControlNet runs at
every step, a ReferenceNet once. `--dry_run` prints parameters, FLOPs and memory.

Expected row: below the paper's model in Tables 1 to 3: colours and kind of the clothes, without
their details, since a few tokens are all that is left of the picture.
"""

import dataclasses

from configs.ablations import common
from convert.reading import presets


def get_config(base="puppets_stage1"):
    config = common.base_config(base)
    config.name = f"sd_i2v_{base}"
    model = config.model
    model.reference.kind = "ip_adapter"
    model.pose_guider.update(dataclasses.asdict(presets.SD_I2V.pose_guider))
    learned = ("denoising_unet", "pose_controlnet", "ip_adapter")
    if base.startswith("puppets"):
        model.prompt.tokens = 4
        learned += ("image_encoder", "prompt")
    else:
        model.image_encoder.update(dataclasses.asdict(presets.OPENCLIP_VIT_H))
        config.schedule.update(dataclasses.asdict(presets.ANIMATEDIFF_SCHEDULE))
        config.sampling.guidance_scale = presets.SD_I2V_SAMPLING.guidance_scale
    if common.is_second_stage(base):
        start = common.weights_of("sd_i2v", common.first_stage(base))
        config.init.update(weights=start, networks=())
    else:
        config.train.trainable = learned
    return config
