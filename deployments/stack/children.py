"""The processes of a stack: started, watched, adopted after a crash of the supervisor, and stopped.

Safety property: a process is signalled only when its id and its start time are the recorded ones, so an id that the
system has given to somebody else meanwhile is never touched. Every child leads a session of its own: Ctrl-C in the
terminal reaches the supervisor alone, which then stops the children in order.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deployments.stack.folder import Folder

LOG_LIMIT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """What a child runs. ``healthy`` asks it whether it answers; it returns or raises nothing else."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    healthy: Callable[[], bool]
    grace_seconds: float = 10.0

    @property
    def fingerprint(self) -> str:
        """Two programs of the same fingerprint are the same: one that runs can be kept.

        Of the environment only our settings count: the shell's may differ from start to start.
        """
        ours = sorted(item for item in self.env.items() if item[0].startswith(("CARETAKER_", "PREFECT_")))
        return hashlib.sha256(repr((self.argv, ours, str(self.cwd))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one of the same id."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a live process; None when there is none, or only its corpse."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return cls(pid, _start_mark(process))
        return None

    @classmethod
    def recorded(cls, record: dict[str, Any] | None) -> Identity | None:
        return cls(int(record["pid"]), str(record["started"])) if record else None

    @property
    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Signal this very process; nothing when it is gone."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it was gone within this time."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.03)
        return True


def _start_mark(process: psutil.Process) -> str:
    """The start time in the kernel's ticks where /proc tells it: that does not move when the clock is set."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return f"{process.create_time():.2f}"
    return stat.rpartition(")")[2].split()[19]


class Child:
    """One program as a process of a stack."""

    def __init__(self, folder: Folder, program: Program) -> None:
        self.program = program
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None
        self.identity: Identity | None = None

    def start(self) -> bool:
        """Keep the recorded process if it is this program, else start it. Say whether it was kept."""
        record = self._folder.read().get("children", {}).get(self.program.name)
        left = Identity.recorded(record)
        if left and left.alive and record["fingerprint"] == self.program.fingerprint:
            self.identity = left
            return True
        if left:
            stop_process(left, self.program.grace_seconds)
            end_orphans(left.pid, self._folder)
        self._spawn()
        return False

    def _spawn(self) -> None:
        with _fresh_log(self._folder.log(self.program.name)) as log:
            self._popen = subprocess.Popen(
                self.program.argv, env=self.program.env, cwd=self.program.cwd, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        self.identity = Identity.of(self._popen.pid)
        if self.identity:
            record = {**vars(self.identity), "fingerprint": self.program.fingerprint}
            self._folder.remember_child(self.program.name, record)

    @property
    def alive(self) -> bool:
        """Whether the process runs. Also buries it when it is dead and ours."""
        if self._popen:
            return self._popen.poll() is None
        return bool(self.identity and self.identity.alive)

    @property
    def exit_status(self) -> int | None:
        return self._popen.poll() if self._popen else None

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process and of what it started."""
        return memory_mb(self.identity.pid) if self.identity and self.alive else 0.0

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL to it and whatever is left in its session."""
        if self.identity:
            stop_process(self.identity, self.program.grace_seconds, self._popen)
        self._folder.remember_child(self.program.name, None)


def stop_process(identity: Identity, grace_seconds: float, popen: subprocess.Popen[bytes] | None = None) -> None:
    """End a process and its group. Its group outlives it for as long as it has a member, so its id is still ours."""
    ours = identity.alive
    identity.signal(signal.SIGTERM)
    if popen:
        with suppress(subprocess.TimeoutExpired):
            popen.wait(grace_seconds)
    else:
        identity.wait(grace_seconds)
    if ours or popen:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(identity.pid, signal.SIGKILL)
    if popen:
        popen.wait()
    else:
        identity.wait(grace_seconds)


def end_orphans(session: int, folder: Folder) -> None:
    """Kill what a child that is gone left in its session, told from strangers by the state folder they were given."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session and process.environ().get("CARETAKER_STATE") == str(folder.root):
                process.kill()


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, in MiB."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return round(total / 2**20, 1)


def _fresh_log(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
