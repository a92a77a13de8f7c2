"""Stage 1 in the puppet world: ReferenceNet, denoising UNet and Pose Guider on frame pairs.

    python train.py --config configs/puppets_stage1.py

Starts from the bundled VAE; `--config.init.weights=runs/puppets_autoencoder/weights` takes your
own. The tiny image encoder, which the paper's configs freeze, learns here too.
"""

from configs import puppets_common


def get_config():
    config = puppets_common.get_config("puppets_stage1")
    config.model.motion_module.enabled = False
    config.init.update(weights="bundled", networks=("vae",))
    config.data.update(frames=1, min_frame_gap=4)
    config.train.update(
        trainable=("reference_unet", "denoising_unet", "pose_guider", "image_encoder"),
        steps=4000,
        batch_size=16,
        optimizer="muon",
        learning_rate=4e-3,
        lr_schedule="cosine",
        warmup_steps=50,
        ema_decay=0.998,
        condition_dropout=0.05,
        timesteps="sampling",
        consistency_weight=0.2,
        save_every=100,
        validate_every=500,
        validation_clips=6,
    )
    config.eval.frames = 8
    return config
