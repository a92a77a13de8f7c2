"""Stage 2 of the paper: the motion modules alone, on clips of 24 frames.

    python train.py --config configs/stage2.py --config.init.weights=runs/stage1/weights

The motion modules start from random numbers, or from AnimateDiff's if the directory holds them
(`python -m convert animatediff mm_sd_v15_v2.ckpt --output runs/stage1/weights`).

Paper, section 4.1: batch 4, 10k steps, AdamW with 1e-5; all other weights are frozen.
"""

from aa_jax.config import default_config


def get_config():
    config = default_config("stage2")
    config.sampling.update(width=768, height=768)
    config.data.update(width=768, height=768, frames=24)
    config.train.update(
        trainable=("motion_module",),
        steps=10_000,
        batch_size=4,
        accumulation_steps=4,
        learning_rate=1e-5,
        dtype="bfloat16",
        remat="blocks",
    )
    return config
