"""How a device computes what the models say: kernels, and which of them a program takes."""
