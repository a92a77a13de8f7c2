"""What an evaluation refuses."""

from __future__ import annotations


class EvaluationError(ValueError):
    """Clips cannot be compared; the message names the folder or clip, what is wrong and the fix."""
