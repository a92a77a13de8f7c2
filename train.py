"""Trains one stage of Animate Anyone.

python train.py --config configs/puppets_stage1.py
python train.py --help
"""

import sys

from aa_jax.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
