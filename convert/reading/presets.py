"""What published weights are, for files that come without a `config.json`.

Facts of these projects' own configuration files; the file a fact stands in is named beside it.
"""

from aa_jax.config import (
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    PoseGuiderConfig,
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
