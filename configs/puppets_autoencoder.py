"""The VAE of the puppet world: 64x64 pictures to 16x16x16 latents and back.

python train.py --config configs/puppets_autoencoder.py
"""

from configs import puppets_common


def get_config():
    config = puppets_common.get_config("puppets_autoencoder")
    config.train.update(
        task="autoencoder",
        trainable=("vae",),
        steps=3600,
        batch_size=4,
        optimizer="muon",
        learning_rate=2e-3,
        lr_schedule="cosine",
        warmup_steps=100,
        weight_decay=0.0,
        adam_b2=0.99,
        ema_decay=0.998,
        kl_weight=1e-5,
        save_every=300,
        validate_every=600,
    )
    return config
