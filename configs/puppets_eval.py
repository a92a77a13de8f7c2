"""Evaluation of the bundled weights: 64 characters never seen in training, 16 frames each.

python evaluate.py --config configs/puppets_eval.py --json figures.json
"""

from configs import puppets_common


def get_config():
    config = puppets_common.get_config("puppets_eval")
    config.eval.update(weights="bundled", characters=64, frames=16)
    return config
