"""Videos, sound and pictures, in and out."""
