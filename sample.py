"""Animates a character: one reference picture and a sequence of poses become a video.

python sample.py
python sample.py --reference me.png --poses dance.npz --output me.mp4
"""

import sys

from aa_jax.sampling.cli import main

if __name__ == "__main__":
    sys.exit(main())
