"""C++ for CPUs, where XLA is slow; without a compiler XLA serves all the same."""
