"""From named tensors to a weights directory, or to files of other projects."""
