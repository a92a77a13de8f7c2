"""Animate Anyone in JAX: one picture and a pose sequence become a video."""
