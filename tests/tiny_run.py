"""A training run small enough for a test: 16x16 pictures, networks of a few thousand parameters."""

from aa_jax.config import RunConfig, default_config, from_dict


def tiny_config(name="tiny", **train) -> RunConfig:
    """A stage-1 run without a weights directory to start from; `train` overrides its fields."""
    config = default_config(name)
    config.model.unet.update(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_levels=(True, True),
        num_attention_heads=2,
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    config.model.motion_module.update(
        enabled=False, num_attention_heads=2, max_positions=4, norm_num_groups=4
    )
    config.model.pose_guider.block_out_channels = (4, 8)
    config.model.autoencoder.update(
        latent_channels=4, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2
    )
    config.model.image_encoder.update(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        projection_dim=8,
    )
    config.skeleton.update(size=64, hands=False)
    config.sampling.update(width=16, height=16, frames=2, steps=2, guidance_scale=1.0)
    config.data.update(width=16, height=16, clips=20)
    config.train.update(
        steps=4,
        batch_size=4,
        learning_rate=1e-3,
        save_every=2,
        validate_every=100,
        validation_clips=1,
        log_every=1,
    )
    config.train.update(train)
    config.mesh.data = 1
    config.eval.update(characters=2, frames=2, batch_size=2)
    return from_dict(RunConfig, config.to_dict())
