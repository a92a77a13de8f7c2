"""Forms of computations that a single CPU is fast at."""
