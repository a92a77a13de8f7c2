"""The page: `sample.py` for people with a browser. Needs gradio (`pip install 'aa_jax[web]'`)."""
