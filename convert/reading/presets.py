"""What published weights are, for files that come without a `config.json`.

Facts of these projects' own configuration files; the file a fact stands in is named beside it.
"""

from aa_jax.config import (
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    PoseGuiderConfig,
    ReferenceConfig,
    SamplingConfig,
    SkeletonConfig,
)

STABLE_DIFFUSION_1_5 = ModelConfig()
"""UNet (`unet/config.json`), VAE (`vae/config.json`, same for sd-vae-ft-mse) and CLIP ViT-L/14."""

STABLE_DIFFUSION_SCHEDULE = NoiseScheduleConfig()
"""`scheduler/scheduler_config.json`: scaled linear betas, epsilon prediction."""

PAPER_SKELETON = SkeletonConfig()
"""The paper draws body and hands."""

PAPER_SAMPLING = SamplingConfig()

OPENPOSE_HINT_ENCODER = PoseGuiderConfig(kind="controlnet", block_out_channels=(16, 32, 96, 256))
"""control_v11p_sd15_openpose and MooreThreads/Moore-AnimateAnyone (`scripts/pose2vid.py`)."""

ANIMATEDIFF = {
    "v1": MotionModuleConfig(max_positions=24, mid_block=False),
    "v2": MotionModuleConfig(max_positions=32, mid_block=True),
    "v3": MotionModuleConfig(max_positions=32, mid_block=False),
}
"""guoyww/AnimateDiff: `configs/inference/inference-v1.yaml`, `-v2.yaml`, `-v3.yaml`."""

ANIMATEDIFF_SCHEDULE = NoiseScheduleConfig(beta_schedule="linear", set_alpha_to_one=True)
"""`noise_scheduler_kwargs` of the same files, which all three versions were trained with."""

OPENCLIP_VIT_H = ImageEncoderConfig(
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=16,
    projection_dim=1024,
    hidden_act="gelu",
)
"""h94/IP-Adapter: `models/image_encoder/config.json`, of OpenCLIP's ViT-H/14."""

SD_I2V = ModelConfig(
    image_encoder=OPENCLIP_VIT_H,
    pose_guider=PoseGuiderConfig(kind="whole_controlnet", block_out_channels=(16, 32, 96, 256)),
    reference=ReferenceConfig(kind="ip_adapter"),
)
"""`configs/baselines/sd_i2v.py`."""

SD_I2V_SKELETON = SkeletonConfig(size=512, hands=True, face=True)
"""control_v11p_sd15_openpose was trained with bodies, hands and faces, and without any of them."""

SD_I2V_SAMPLING = SamplingConfig(steps=25, guidance_scale=7.5, frames=16, window_frames=16)
"""AnimateDiff was trained with clips of 16 frames; 7.5 is Stable Diffusion's usual guidance."""

MOORE_SCHEDULE = NoiseScheduleConfig(
    beta_schedule="linear",
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    steps_offset=1,
    set_alpha_to_one=True,
)
"""`configs/inference/inference_v2.yaml`; MusePose's and Champ's are the same.

They were trained on `scaled_linear` betas; the results their authors show come from these.
"""

MOORE_SKELETON = SkeletonConfig(size=512, hands=True, face=True, threshold=0.3)
"""`src/dwpose`: body, hands and face, drawn at a shorter side of 512."""

MOORE_SAMPLING = SamplingConfig(
    width=512,
    height=784,
    frames=24,
    steps=30,
    guidance_scale=3.5,
    window_method="uniform",
    window_frames=24,
    window_overlap=4,
    window_stride=1,
    reference_dtype="float16",
)
"""`scripts/pose2vid.py` and the defaults of `pipeline_pose2vid_long.py`."""

MUSEPOSE_SKELETON = SkeletonConfig(size=512, hands=True, face=False, threshold=0.3)
"""MusePose aligns and draws without the face."""

MUSEPOSE_SAMPLING = SamplingConfig(
    width=768,
    height=768,
    frames=300,
    steps=20,
    guidance_scale=3.5,
    window_method="uniform",
    window_frames=48,
    window_overlap=4,
    window_stride=1,
    reference_dtype="float16",
)
"""TMElyralab/MusePose: `test_stage_2.py`. Its position tables have 128 rows."""

MUSEPOSE_POSITIONS = 128
