"""What metrics refuse, in one line each."""

from __future__ import annotations


class MetricError(ValueError):
    """Pictures, clips, features or weights cannot be measured; the message names which and why."""


class MetricUnavailable(MetricError):
    """A metric's network has no weights here; the message names what to install or to give."""
