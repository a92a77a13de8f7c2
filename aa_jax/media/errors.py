"""What cannot be read or written, in one line."""

from __future__ import annotations


class VideoError(ValueError):
    """A video cannot be read or written; the message names the file and the cause."""


def failures() -> tuple[type[Exception], ...]:
    """What PyAV raises for files it cannot read or write."""
    import av

    return (av.FFmpegError, OSError, ValueError, OverflowError)


def reason(error: Exception) -> str:
    """The cause of an error of the system or of FFmpeg, in one line without its number."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())
