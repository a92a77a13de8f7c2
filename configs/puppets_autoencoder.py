"""The VAE of the puppet world: 64x64 pictures to 16x16x16 latents and back.

python train.py --config configs/puppets_autoencoder.py
"""

from configs import puppets_common


def get_config():
    config = puppets_common.get_config("puppets_autoencoder")
    config.train.update(
        task="autoencoder",
        trainable=("vae",),
        steps=6000,
        batch_size=2,
        learning_rate=5e-4,
        lr_schedule="cosine",
        warmup_steps=100,
        weight_decay=0.0,
        adam_b2=0.99,
        ema_decay=0.999,
        kl_weight=1e-5,
        save_every=500,
        validate_every=1000,
    )
    return config
