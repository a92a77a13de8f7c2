"""Who has asked for what: every visitor's jobs, and the files that go with them."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from aa_jax.page.jobs import Job
from aa_jax.pose.detection import CACHE_SUFFIX

Key = tuple[str, str]
"""A visitor, and a tab of the page."""


class Jobs:
    """The last job of every visitor on every tab, and the folder where its files lie.

    Everything lies in one folder, which goes with the page.
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="aa_jax_page_"))
        self._jobs: dict[Key, tuple[Job, Path]] = {}
        self._videos: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def begin(
        self, visitor: str, tab: str, make: Callable[[Path], Job], video: str | None = None
    ) -> tuple[Job, Path]:
        """A job, not started; the visitor's last one on this tab is ended and its files go.

        Args:
          visitor: whose it is.
          tab: where it was asked for.
          make: gives the job for a new folder.
          video: what is uploaded; poses found in it are kept beside it until the visitor leaves.
        """
        self._end((visitor, tab))
        folder = Path(tempfile.mkdtemp(dir=self._root))
        job = make(folder)
        with self._lock:
            self._jobs[visitor, tab] = job, folder
            if video:
                self._videos.setdefault(visitor, set()).add(video)
        return job, folder

    def cancel(self, visitor: str, tab: str) -> bool:
        """Ends a visitor's job; whether there was one."""
        with self._lock:
            job, _ = self._jobs.get((visitor, tab), (None, None))
        if job is None or job.code is not None:
            return False
        job.cancel()
        return True

    def end(self, visitor: str) -> None:
        """Ends all that a visitor has asked for and takes the files away."""
        for key in [key for key in list(self._jobs) if key[0] == visitor]:
            self._end(key)
        with self._lock:
            videos = self._videos.pop(visitor, set())
        for video in videos:
            Path(video + CACHE_SUFFIX).unlink(missing_ok=True)

    def _end(self, key: Key) -> None:
        with self._lock:
            job, folder = self._jobs.pop(key, (None, None))
        if job is not None:
            job.cancel()
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ends all."""
        for visitor in {visitor for visitor, _ in list(self._jobs)} | set(self._videos):
            self.end(visitor)
        shutil.rmtree(self._root, ignore_errors=True)
