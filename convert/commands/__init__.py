"""One file per command of `python -m convert`, and the flags they share."""
