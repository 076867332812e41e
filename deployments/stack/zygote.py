"""A warm process that forks the runs: what ``python -m prefect.engine`` would start, without its imports.

Nearly all of a run's start is imports: Prefect, the flows, Google's clients, four seconds of a core. They are done
once, in a process that stays single-threaded, opens nothing and runs nothing; each run is a fork of it, so a run is
still a process of its own, that is killed, drained and cancelled as any other.

Safety properties: it forks only while it has one thread (a lock that another one holds would stay locked in the child);
it never forks code that is older than the files (``sources`` is compared before each run, by the worker); and when the
worker is gone, so are its runs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.stack.heap import give_back

#: What a run imports before its first call to the cloud. Libraries that only some flows use are left to those.
WARM = (
    "prefect.flow_engine", "prefect._internal.metrics", "prefect.deployments.steps.pull", "prefect.events.clients",
    "prefect.artifacts", "tasks.clients.ledger_schema", "tasks.clients.engines", "tasks.clients.advisory_lock",
    "sqlalchemy.dialects.postgresql.psycopg", "psycopg", "grpc", "google.auth.credentials", "google.cloud.run_v2",
    "google.cloud.secretmanager", "google.cloud.storage",
)  # fmt: skip
NAME = "caretaker-zygote"
Sources = dict[str, tuple[int, int]]


def sources(home: Path) -> Sources:
    """What the code is made of: each file with its time and size. A change of any makes a warm process stale."""
    files = [*(path for part in ("flows", "tasks", "deployments") for path in (home / part).rglob("*.py"))]
    lock = home / "uv.lock"
    return {str(path): _mark(path) for path in [*files, *([lock] if lock.exists() else [])]}


def _mark(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def launch() -> tuple[int, socket.socket]:
    """Fork the zygote. Return its process id and the socket over which it is asked; to be called with one thread."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    ours.close()
    Zygote(theirs).serve()
    raise SystemExit(0)


class Zygote:
    """The warm process. A line of JSON asks for a run (``key``, ``env``, ``cwd``); lines tell its ``pid`` and end."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._children: dict[int, str] = {}
        self._text = b""

    def serve(self) -> None:
        """Warm up, then fork until the worker is gone. Returns in the zygote; a run leaves it by SystemExit."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the worker drains; then it closes the socket
        warm_up()
        self._tell(ready=True)
        for request in self._requests():
            self._fork(request)
        self._end_all()

    def _requests(self) -> Iterator[dict[str, Any]]:
        """What is asked, line by line, until the worker is gone. Ends of runs are told meanwhile."""
        woken, wake = socket.socketpair()
        for end in (woken, wake, self._asked):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._owned = (woken, wake)
        with selectors.DefaultSelector() as selector:
            selector.register(self._asked, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            self._selector = selector
            while True:
                selector.select()
                with suppress(BlockingIOError):
                    woken.recv(4096)
                self._reap()
                lines = self._lines()
                if lines is None:
                    return
                yield from (json.loads(line) for line in lines)

    def _lines(self) -> list[bytes] | None:
        """The whole lines that have come; None when the worker is gone."""
        try:
            more = self._asked.recv(1 << 20)
        except BlockingIOError:
            return []
        if not more:
            return None
        *lines, self._text = (self._text + more).split(b"\n")
        return lines

    def _fork(self, request: dict[str, Any]) -> None:
        if threads() != 1:
            return self._tell(key=request["key"], refused=f"the warm process has {threads()} threads")
        pid = os.fork()
        if pid == 0:
            self._leave()
            become(request["env"], request["cwd"])
        self._children[pid] = request["key"]
        return self._tell(key=request["key"], pid=pid)

    def _leave(self) -> None:
        """In the child: be no zygote any more."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for end in (*self._owned, self._asked):
            end.close()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._tell(key=self._children.pop(pid), status=os.waitstatus_to_exitcode(status))

    def _tell(self, **what: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._asked.setblocking(True)
            self._asked.sendall(json.dumps(what).encode() + b"\n")
            self._asked.setblocking(False)

    def _end_all(self) -> None:
        """A run whose worker is gone has nobody who would tell its end."""
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def warm_up() -> None:
    """Import what runs import. A module that cannot be imported is left to the run, which says so in its own log."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads, and a process with threads does not fork
    from deployments.run import FLOWS

    gc.disable()
    for name in [*WARM, *(module for module, _, _ in FLOWS.values())]:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  its run will fail with the whole of it, in its own log
            print(f"importing {name} ahead of its runs failed: {type(error).__name__}: {error}", flush=True)
    give_back()
    gc.freeze()  # what is never collected is never written to, and stays shared with the runs
    gc.enable()


def become(env: dict[str, str], cwd: str) -> None:
    """In a fresh fork: be ``python -m prefect.engine`` in this environment and folder. Raises SystemExit at its end."""
    import runpy
    import warnings

    from prefect.context import refresh_global_settings_context

    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    random.seed()
    sys.argv = ["prefect.engine"]
    refresh_global_settings_context()
    warnings.filterwarnings("ignore", "'prefect.engine' found in sys.modules", RuntimeWarning)  # as it should be
    runpy.run_module("prefect.engine", run_name="__main__")
    raise SystemExit(0)


def threads() -> int:
    """How many threads this process has, those of libraries too."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()
