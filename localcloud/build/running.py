"""One build while it runs: its deadline, its cancellation, and the processes that it may start.

Safety property: no process outlives its build; each is in its own session, which is killed as a whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from google.cloud.devtools.cloudbuild_v1.types import Build

Failure: TypeAlias = Build.FailureInfo.FailureType
_TAIL_LINES = 15


class BuildStopped(Exception):
    """A build ended without an image."""

    def __init__(self, status: Build.Status, detail: str, failure: Failure = Failure.FAILURE_TYPE_UNSPECIFIED) -> None:
        super().__init__(detail)
        self.status, self.detail, self.failure = status, detail, failure


def failed(detail: str, failure: Failure = Failure.USER_BUILD_STEP) -> BuildStopped:
    """The source, or what it asks for, is at fault."""
    return BuildStopped(Build.Status.FAILURE, detail, failure)


class RunningBuild:
    """What every step of a build asks before it goes on. ``log`` takes one line."""

    def __init__(self, timeout_seconds: float, log: Callable[[str], None]) -> None:
        self.log = log
        self._timeout = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raise BuildStopped when the build was cancelled or ran out of time."""
        if self._cancelled.is_set():
            raise BuildStopped(Build.Status.CANCELLED, "the build was cancelled")
        if time.monotonic() > self._deadline:
            raise BuildStopped(Build.Status.TIMEOUT, f"the build did not finish in {self._timeout:g} s")

    def pause(self, seconds: float, until: threading.Event) -> None:
        """Wait, at most until the event, the deadline or the cancellation."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until.wait(0.02):
            self.check()

    def run(self, argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], logged: bool = True) -> str:
        """Run a program to its end and return what it prints. Raises BuildStopped when it fails."""
        self.check()
        process = subprocess.Popen(
            [str(part) for part in argv], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace",
        )
        watch = threading.Thread(target=self._watch, args=(process,), daemon=True)
        watch.start()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if logged and lines[-1]:
                self.log(lines[-1])
        process.wait()
        watch.join()
        self.check()
        if process.returncode:
            raise failed(f"{Path(argv[0]).name} {argv[1]} exited with {process.returncode}: {_why(lines)}")
        return "\n".join(lines)

    def _watch(self, process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            left = self._deadline - time.monotonic()
            if left <= 0 or self._cancelled.is_set():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return
            try:
                process.wait(min(left, 0.05))
            except subprocess.TimeoutExpired:
                continue


def _why(lines: Sequence[str]) -> str:
    """The end of what a failed program printed, from its first word of an error on, in one line."""
    start = next((at for at, line in enumerate(lines) if line.lstrip().lower().startswith("error")), 0)
    return " ".join(line.strip() for line in lines[start:][-_TAIL_LINES:] if line.strip())
