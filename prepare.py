"""Turns a folder of videos into a dataset to train on: poses, filters, ArrayRecord files, report.

python prepare.py --videos DIR --output DATA
python train.py --config configs/stage1.py --config.data.source=DATA
"""

import sys

from aa_jax.data.preparation.cli import main

if __name__ == "__main__":
    sys.exit(main())
