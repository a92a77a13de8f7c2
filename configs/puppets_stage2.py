"""Stage 2 in the puppet world: the motion modules alone, on clips of 24 frames.

    python train.py --config configs/puppets_stage2.py

Starts from the bundled stage-1 networks; `--config.init.weights=runs/puppets_stage1/weights` takes
your own.
"""

from configs import puppets_common


def get_config():
    config = puppets_common.get_config("puppets_stage2")
    config.init.update(
        weights="bundled",
        networks=("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"),
    )
    config.data.update(frames=24)
    config.train.update(
        trainable=("motion_module",),
        steps=1000,
        batch_size=1,
        optimizer="muon",
        learning_rate=1e-2,
        lr_schedule="cosine",
        warmup_steps=30,
        timesteps="sampling",
        temporal_weight=10.0,
        consistency_weight=4.0,
        ema_decay=0.99,
        save_every=100,
        validate_every=500,
        validation_clips=6,
    )
    config.eval.frames = 16
    return config
