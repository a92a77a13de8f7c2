"""Measures a model on characters that training never saw.

python evaluate.py --config configs/puppets_eval.py
python evaluate.py --help
"""

import sys

from aa_jax.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
