"""One run of `sample.py`, or of another program, in a process of its own.

Nothing that is uploaded can end the page with it, all memory is given back, and it can be stopped
at any moment. The price is its start: some seconds, and the reading of the weights.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aa_jax

_CODE = "import sys; from {program} import main; sys.exit(main())"
_CLOCK = re.compile(r"^\[ *[\d.]+ s\] ")
_GRACE = 5.0
"""Seconds that a process has to end when it is asked to."""


class Job:
    """A command line that runs, or is about to.

    Attributes:
      lines: all that it has said.
      code: its exit code; None before it has ended.
    """

    def __init__(self, arguments: Sequence[str], program: str = "aa_jax.sampling.cli") -> None:
        """Arguments of a program, which is a module with a `main`; paths are this process's."""
        self.lines: list[str] = []
        self.code: int | None = None
        self._arguments, self._program = list(arguments), program
        self._process: subprocess.Popen[str] | None = None
        self._cancelled, self._lock = False, threading.Lock()

    def run(self, names: Mapping[str, str]) -> Iterator[str]:
        """Starts it, and gives what it says, line by line, without the time it prints.

        Args:
          names: texts to be replaced in what it says, such as paths by names.
        """
        root = str(Path(aa_jax.__file__).parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with self._lock:
            if self._cancelled:
                self.code = 130
                return
            code = _CODE.format(program=self._program)
            self._process = subprocess.Popen(
                # -P: what lies in the folder of this process is not to be imported.
                [sys.executable, "-P", "-c", code, *self._arguments],
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        try:
            for line in self._process.stdout:
                line = _CLOCK.sub("", line.strip())
                for text, name in names.items():
                    line = line.replace(text, name)
                if line:
                    self.lines.append(line)
                    yield line
        except GeneratorExit:  # the reader has gone away
            self.cancel()
            raise
        finally:
            self._process.stdout.close()
            self.code = self._process.wait()

    def cancel(self) -> None:
        """Ends it; if it has not begun, it will not."""
        with self._lock:
            self._cancelled = True
            process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked for its end."""
        return self._cancelled

    @property
    def error(self) -> str:
        """Why it has failed, in a sentence; empty if it has not."""
        if not self.code:
            return ""
        if self.cancelled:
            return "cancelled"
        for line in reversed(self.lines):
            if line.startswith("error: "):
                return line.removeprefix("error: ")
        if self.code < 0:
            name = signal.Signals(-self.code).name
            return f"it was ended by the system ({name}); often memory was short: a smaller size"
        return "it failed; what it said last: " + (self.lines[-1] if self.lines else "nothing")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What it has warned of."""
        found = (
            line.removeprefix("warning: ") for line in self.lines if line.startswith("warning: ")
        )
        return tuple(dict.fromkeys(found))
