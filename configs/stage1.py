"""Stage 1 of the paper: ReferenceNet, denoising UNet and Pose Guider on single frames.

    python -m convert stable-diffusion sd15 --vae sd-vae-ft-mse --output start
    python -m convert image-encoder clip --output start
    python train.py --config configs/stage1.py --config.init.weights=start

Paper, section 4.1: 768x768, batch 64, 30k steps, AdamW with 1e-5 on 4 A100; VAE and CLIP image
encoder are frozen. `--dry_run` prints parameters, FLOPs and memory.
"""

from aa_jax.config import default_config


def get_config():
    config = default_config("stage1")
    config.model.motion_module.enabled = False
    config.sampling.update(width=768, height=768)
    config.data.update(width=768, height=768, frames=1)
    config.train.update(
        trainable=("reference_unet", "denoising_unet", "pose_guider"),
        steps=30_000,
        batch_size=64,
        accumulation_steps=4,
        learning_rate=1e-5,
        dtype="bfloat16",
        remat="blocks",
    )
    return config
