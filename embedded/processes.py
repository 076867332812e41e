"""Child processes that a restarted parent finds again, to end them or to go on watching them.

Safety property: only a process that was started here is ever signalled. It is known by a mark in its environment, which
its descendants inherit, or by its process id together with its start time; a process id alone proves nothing. The
record is written before the process exists, so that no moment of a ``kill -9`` leaves an unknown orphan.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

MARK_VARIABLE = "CARETAKER_PROCESS"
POLL_SECONDS = 0.02
#: Two processes that share a number cannot have been started this close to each other, even if the clock was adjusted.
START_TOLERANCE_SECONDS = 2.0

Stream = int | IO[bytes]


@dataclass(frozen=True)
class Record:
    """What is written down about a child: its mark, and once it runs its process id and start time."""

    mark: str
    pid: int = 0
    started: float = 0.0

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        scratch = path.with_suffix(".part")  # no *.json: a kill may leave it empty
        scratch.write_text(json.dumps(self.__dict__))
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in a file; None when there is none."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None

    def process(self) -> psutil.Process | None:
        """The recorded process if it still runs; None when it is gone or its number belongs to another one."""
        try:
            process = psutil.Process(self.pid) if self.pid else None
            return process if process and self._is(process) else None
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        """Whether the recorded process still runs."""
        return self.process() is not None

    def _is(self, process: psutil.Process) -> bool:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return _mark(process) == self.mark or abs(process.create_time() - self.started) < START_TOLERANCE_SECONDS


class Child:
    """A process of our own in a session of its own, so that it is signalled together with its descendants."""

    def __init__(self, popen: subprocess.Popen[bytes], record: Path) -> None:
        self._popen, self._record = popen, record
        self.pid = popen.pid
        self.stdout, self.stderr = popen.stdout, popen.stderr

    @classmethod
    def start(
        cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], record: Path,
        stdout: Stream = subprocess.DEVNULL, stderr: Stream = subprocess.DEVNULL,
    ) -> Child:  # fmt: skip
        """Start a process with exactly this environment. Raises OSError when it cannot be started."""
        note = Record(uuid.uuid4().hex)
        note.write(record)
        try:
            popen = subprocess.Popen(
                argv, cwd=cwd, env={**env, MARK_VARIABLE: note.mark}, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, start_new_session=True,
            )  # fmt: skip
        except OSError:
            record.unlink(missing_ok=True)
            raise
        with contextlib.suppress(psutil.NoSuchProcess):
            note = Record(note.mark, popen.pid, psutil.Process(popen.pid).create_time())
        note.write(record)
        return cls(popen, record)

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; the exit status, or None when the time is over."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def on_exit(self, call: Callable[[], Any]) -> None:
        """Call a function, from a thread of its own, once the process is over."""

        def watch() -> None:
            self._popen.wait()
            call()

        threading.Thread(target=watch, name=f"wait-{self.pid}", daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Signal the process and its descendants."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, grace: float) -> int:
        """Ask it to end, force it when the grace is over, and forget it. Return its exit status."""
        if self._popen.poll() is None:
            self.signal(signal.SIGTERM)
            self.wait(grace)
        self.signal(signal.SIGKILL)  # what the process left behind in its session, or the process itself
        status = self._popen.wait()
        self.forget()
        return status

    def forget(self) -> None:
        """Remove the record of a process that is over."""
        self._record.unlink(missing_ok=True)


def reap(folder: Path, grace: float) -> int:
    """End every process that an earlier parent recorded in a folder; return how many there were."""
    records = [(path, record) for path in sorted(folder.glob("*.json")) if (record := Record.read(path))]
    processes = families([record for _, record in records]) if records else []
    end(processes, grace)
    for path, _ in records:
        path.unlink(missing_ok=True)
    return len(processes)


def end(processes: Iterable[psutil.Process], grace: float) -> None:
    """Ask processes that are not our children to end, and force those that have not when the grace is over."""
    running = list(processes)
    _signal(running, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while running and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        running = [process for process in running if _runs(process)]
    _signal(running, signal.SIGKILL)


def families(records: Sequence[Record]) -> list[psutil.Process]:
    """The recorded processes and all their descendants; slow, for what an earlier parent left."""
    marks = {record.mark for record in records}
    psutil.process_iter.cache_clear()  # it would give what it saw before for a number that was used again since
    found = [process for process in psutil.process_iter() if _mark(process) in marks]
    leaders = [process for record in records if (process := record.process()) is not None]
    return list(dict.fromkeys([*found, *leaders, *(child for leader in leaders for child in _below(leader))]))


def _below(process: psutil.Process) -> list[psutil.Process]:
    """The descendants by parentage: one that is just being started shows no environment, so no mark, for a moment."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK_VARIABLE, "")
    except (psutil.Error, OSError):
        return ""  # another user's process, or one that is over: none of ours


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
