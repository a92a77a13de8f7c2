"""Weights in and out: `python -m convert --help`.

Converters from and to the PyTorch files people own. Everything is strict: a source tensor is used
or ignored for a stated reason, every parameter of ours is filled, every shape is checked.
"""


class ConvertError(ValueError):
    """A file cannot be converted; one line that names the file or tensor and the way out."""
