"""A model small enough to sample from within seconds, with random weights nowhere zero."""

import jax
import numpy as np

from aa_jax import config as config_lib
from aa_jax import weights

MODEL = config_lib.ModelConfig(
    unet=config_lib.UNetConfig(
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_levels=(True, False),
        num_attention_heads=2,
        cross_attention_dim=16,
        norm_num_groups=8,
    ),
    motion_module=config_lib.MotionModuleConfig(
        num_attention_heads=2, num_attention_layers=1, max_positions=6, norm_num_groups=8
    ),
    pose_guider=config_lib.PoseGuiderConfig(block_out_channels=(8, 8, 16, 16)),
    autoencoder=config_lib.AutoencoderConfig(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4
    ),
    image_encoder=config_lib.ImageEncoderConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=16,
    ),
)
SCHEDULE = config_lib.NoiseScheduleConfig(prediction_type="v_prediction")


def random_params(model):
    """Kernels of unit gain, everything else near its usual value; zero-initialised layers too."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return noise / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return noise * np.float32(0.1) + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, weights.abstract_params(model))
