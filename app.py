"""Animates a character in the browser: what `sample.py` does, on a page.

pip install -e '.[web]'
python app.py
python app.py --weights runs/stage2/weights --port 8000
"""

import sys

from aa_jax.page.cli import main

if __name__ == "__main__":
    sys.exit(main())
