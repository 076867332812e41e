"""Knows a running postmaster from the file that it leaves, so that it is adopted and never started twice.

Safety property: a process is taken for the postmaster of a data directory only when its own command line names that
directory; a number that the system has given to another process since is never signalled.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

PID_FILE = "postmaster.pid"
POLL_SECONDS = 0.01
StopMode = Literal["smart", "fast", "immediate"]
_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT,
}  # fmt: skip


@dataclass(frozen=True)
class Postmaster:
    """What ``postmaster.pid`` says. ``ready`` is true once it accepts connections."""

    pid: int
    data: Path
    port: int
    socket_dir: str
    ready: bool

    @classmethod
    def read(cls, data: Path) -> Postmaster | None:
        """The postmaster that the file names, running or not; None without a (whole) file."""
        try:
            lines = (data / PID_FILE).read_text().split("\n")
            return cls(int(lines[0]), data, int(lines[3]), lines[4], len(lines) > 7 and lines[7].strip() == "ready")
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def alive(self) -> bool:
        """Whether that process runs and is a postmaster of this data directory.

        Stronger than comparing start times, which move when the clock is set: no other process has this command line,
        for a backend's is rewritten and a zombie's is empty.
        """
        try:
            argv = psutil.Process(self.pid).cmdline()
        except psutil.NoSuchProcess:
            return False
        return len(argv) > 2 and Path(argv[0]).name == "postgres" and argv[1:3] == ["-D", str(self.data)]

    def stop(self, mode: StopMode, timeout: float) -> bool:
        """Ask it to stop and wait; say whether it is gone."""
        deadline = time.monotonic() + timeout
        if self.alive():
            os.kill(self.pid, _SIGNALS[mode])
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def forget_recycled(data: Path, socket_dir: Path, port: int) -> None:
    """Remove the lock files of a killed postmaster whose number another program bears now.

    PostgreSQL itself removes those of a dead process, and then looks whether backends of it still live; so they are
    left to it unless the recycled number would make it refuse for ever.
    """
    found = Postmaster.read(data)
    if found is None or found.alive() or not psutil.pid_exists(found.pid):
        return
    if not _in_use(data):
        (data / PID_FILE).unlink(missing_ok=True)
        (socket_dir / f".s.PGSQL.{port}.lock").unlink(missing_ok=True)


def _in_use(data: Path) -> bool:
    """Whether any process works inside the data directory, as every PostgreSQL process does."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(data):
                return True
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return False
