"""What all runs in the puppet world share: model, noise schedule, skeleton style, size."""

from aa_jax.config import default_config


def get_config(name: str):
    """The common part of the puppet runs' configs."""
    config = default_config(name)
    config.model.unet.update(
        in_channels=16,
        out_channels=16,
        block_out_channels=(64, 112),
        layers_per_block=1,
        attention_levels=(True, True),
        num_attention_heads=2,
        cross_attention_dim=64,
        norm_num_groups=8,
    )
    config.model.motion_module.update(num_attention_heads=4, norm_num_groups=8)
    config.model.autoencoder.update(
        latent_channels=16,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        scaling_factor=0.39,  # one over the deviation of the latents
    )
    config.model.image_encoder.update(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=64,
        patch_size=16,
        projection_dim=64,
    )
    config.schedule.update(
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,  # else 3 % of the noise stays in the result, and flickers
    )
    config.skeleton.update(size=256, hands=False)
    config.sampling.update(width=64, height=64, frames=24, steps=4, guidance_scale=1.0)
    config.data.update(width=64, height=64)
    return config
