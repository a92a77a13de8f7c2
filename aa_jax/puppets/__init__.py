"""A procedural world of articulated characters, with exact keypoints for every frame."""
