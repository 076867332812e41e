"""One attempt of one task: a real process whose output and exit status lie in files.

Safety property: the process outlives a ``kill -9`` of the local cloud, and the next one finds it again: it is watched
to its end, never started a second time.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedded.processes import Child, Record, end, families
from localcloud.run.containers import Prepared
from localcloud.run.output import Lines

POLL_SECONDS = 0.03
STOP_GRACE_SECONDS = 10.0
_READ_BYTES = 256 * 1024
#: Runs the command, and leaves its exit status where a later local cloud finds it. It outlives SIGTERM to do so; the
#: command itself gets the signal with its default effect.
_WRAPPER = """trap : TERM INT; "$@"; status=$?; echo $status > "$0"; exit $status"""

#: Takes the stream's name and a line.
Take = Callable[[list[tuple[str, str]]], None]


class Stopped(BaseException):
    """The local cloud is stopping; whoever runs this work leaves it to the next start.

    Not an ``Exception``: nothing on the way may take it for a failure of the work and write that down.
    """


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``why`` is empty when it succeeded."""

    exit_code: int = 0
    signal: int = 0
    why: str = ""
    cancelled: bool = False


class Attempt:
    """An attempt by its files: ``STEM.json`` the process, ``.exit`` its status, ``.stdout``, ``.stderr``."""

    def __init__(self, stem: Path, take: Take) -> None:
        self._stem, self._take = stem, take
        self._record = self._file("json")
        self._child: Child | None = None
        self._tails = [Tail(self._file(stream), stream) for stream in ("stdout", "stderr")]

    def run(
        self, prepare: Callable[[], Prepared], timeout: float, cancel: threading.Event, stop: threading.Event
    ) -> Outcome:
        """Start the process, or find the one that was started, and stay until it is over.

        Raises StartFailure, and Stopped when the local cloud stops.
        """
        if not self._begun():
            self._start(prepare())
        began = self._began()
        while self._alive():
            if stop.is_set():
                self._end()
                raise Stopped
            if cancel.is_set():
                self._end()
                return Outcome(cancelled=True, why="The execution was cancelled.")
            if time.time() > began + timeout:
                self._end()
                return Outcome(why="The configured timeout was reached.", signal=signal.SIGTERM)
            self._tell()
            self._wait()
        self._tell(last=True)
        return self._outcome()

    def clear(self) -> None:
        """Remove the files of an attempt whose outcome is written down."""
        for path in self._stem.parent.glob(f"{self._stem.name}.*"):
            path.unlink(missing_ok=True)

    def _file(self, kind: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{kind}")

    def _begun(self) -> bool:
        """Whether a process was ever started for this attempt; if its number was not yet noted, note it now."""
        record = Record.read(self._record)
        if record is None or record.pid or self._status() is not None:
            return record is not None
        found = families([record])
        if not found:
            return False
        leader = min(found, key=lambda process: (process.create_time(), process.pid))
        Record(record.mark, leader.pid, leader.create_time()).write(self._record)
        return True

    def _start(self, prepared: Prepared) -> None:
        with self._file("stdout").open("wb") as out, self._file("stderr").open("wb") as err:
            self._child = Child.start(
                ["/bin/sh", "-c", _WRAPPER, str(self._file("exit")), *prepared.argv], cwd=prepared.cwd,
                env=prepared.env, record=self._record, stdout=out, stderr=err,
            )  # fmt: skip

    def _began(self) -> float:
        # The record is written as the process starts; the system's own start times are rounded to the second.
        return self._record.stat().st_mtime

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.returncode is None
        record = Record.read(self._record)
        return record is not None and record.alive()

    def _wait(self) -> None:
        if self._child is not None:
            self._child.wait(POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        record = Record.read(self._record)
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            self._child.wait(STOP_GRACE_SECONDS)
            self._child.signal(signal.SIGKILL)
            self._child.wait()
        elif record is not None:
            end(families([record]), STOP_GRACE_SECONDS)
        self._tell(last=True)

    def _tell(self, *, last: bool = False) -> None:
        for tail in self._tails:
            tail.pass_on(self._take, last=last)

    def _status(self) -> int | None:
        try:
            return int(self._file("exit").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _outcome(self) -> Outcome:
        status = self._status()
        if status == 0:
            return Outcome()
        if status is None:  # the wrapper itself was killed
            return Outcome(signal=signal.SIGKILL, why="The container exited with an error.")
        if status > 128:
            return Outcome(signal=status - 128, why=f"The container terminated on signal {status - 128}.")
        return Outcome(exit_code=status, why="The container exited with an error.")


class Tail:
    """Passes on what a file gains, line by line; how far it came lies beside the file, for the next local cloud."""

    def __init__(self, path: Path, stream: str) -> None:
        self._path, self._stream = path, stream
        self._mark = path.with_name(f"{path.name}.at")
        self._new: list[tuple[str, str]] = []
        self._lines = Lines(lambda text: self._new.append((self._stream, text)))
        self._offset = 0
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._offset = int(self._mark.read_text())

    def pass_on(self, take: Take, *, last: bool) -> None:
        """Hand over the whole lines that are new; with ``last``, an unfinished one too."""
        while data := self._read():
            self._lines.feed(data)
            self._offset += len(data)
        if last:
            self._lines.end()
        if self._new:
            take(self._new)
            self._new = []
            self._mark.write_text(str(self._offset - self._lines.pending))

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read(_READ_BYTES)
        except FileNotFoundError:
            return b""
