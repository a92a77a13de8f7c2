"""From any file of weights to named tensors and an architecture."""
