"""Starts a stack, keeps it up, and stops it in order.

Safety property: everything it starts is written down before it is waited for; a start that fails, and a signal at any
moment, stops what was started; and after a ``kill -9`` of this process the next start keeps the children that still
run, or ends them. The order of stopping is that of dependence: receiver, worker, Prefect's server, local cloud,
PostgreSQL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.addresses import LOOPBACK
from deployments.environment import child_environment
from deployments.stack.children import Child, Identity
from deployments.stack.database import LEDGER, Database, database_url
from deployments.stack.folder import Folder, replace
from deployments.stack.listening import prove_listening
from deployments.stack.ports import choose_ports
from deployments.stack.programs import (
    CHILDREN,
    DRAIN_SECONDS,
    HOME,
    cloud_program,
    server_program,
    webhooks_program,
    worker_program,
)
from deployments.stack.watchman import Watchman
from tasks.errors import OpsError

START_SECONDS = 120.0
QUIET_SECONDS = 60.0
LOOK_SECONDS = 0.5
RESTART_PAUSES_SECONDS = (0.5, 1, 2, 5, 10, 30)


@dataclass(frozen=True)
class Wishes:
    """What a person asked of ``caretaker up``."""

    estate: Path
    deploy: bool = True
    worker: bool = True
    webhooks: bool = True
    sample: bool = True
    local_cloud: bool = True
    ui_port: int | None = None
    drain_seconds: float = DRAIN_SECONDS
    listen: str = LOOPBACK


class Stopped(Exception):
    """A signal came while the stack was starting."""


class Supervisor:
    """One stack, from its first process to its last."""

    def __init__(self, folder: Folder, wishes: Wishes) -> None:
        self.folder, self.wishes = folder, wishes
        self.began = time.time()
        self.stopping = threading.Event()
        self.children: dict[str, Child] = {}
        self.database: Database | None = None
        self._restarts: dict[str, int] = {}
        self._pause_until: dict[str, float] = {}
        self._first_steps: subprocess.Popen[bytes] | None = None

    def take_over(self) -> None:
        """Become the one supervisor of this folder. Raises Conflict when there is one, BadInput for a taken port."""
        self.folder.prepare()
        self.folder.hold()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, lambda *_: self.stopping.set())
        prove_listening(self.folder, self.wishes.listen)
        self.ports = choose_ports(self.folder, self.wishes.ui_port)
        me = Identity.of(os.getpid())
        self.folder.change(
            ports=self.ports, supervisor=vars(me) if me else None, phase="starting", first_steps=None,
            drain_seconds=self.wishes.drain_seconds, listen=self.wishes.listen,
        )

    def start(self) -> None:
        """Start everything, side by side where nothing depends on the other. Raises OpsError, or Stopped."""
        os.environ["CARETAKER_STATE"] = str(self.folder.root)
        os.environ["CARETAKER_ESTATE"] = str(self.wishes.estate)
        self.database = Database(self.folder)
        ledger = database_url(self.folder, LEDGER, "psycopg")
        replace(self.folder.root / "secrets" / "ledger-url", ledger, mode=0o600)
        # The server's imports are the longest part; the others share the second core.
        self._begin(Child(self.folder, server_program(self.folder, self.ports, self.wishes.listen)))
        self.say("PostgreSQL kept" if self.database.start() else "PostgreSQL")
        if self.wishes.local_cloud:
            self._begin(Child(self.folder, cloud_program(self.folder)))
        self._begin_first_steps()
        self._await(*self.children)
        if self.wishes.worker:
            self._begin(Child(self.folder, worker_program(self.folder, self.wishes.drain_seconds)))
        if self.wishes.webhooks:
            self._begin(Child(self.folder, webhooks_program(self.folder, self.ports, self.wishes.estate)))

    def finish_first_steps(self) -> int:
        """Wait for the first steps, and say how they ended. Raises Stopped."""
        assert self._first_steps is not None
        while self._first_steps.poll() is None:
            self._look()
            if self.stopping.wait(0.1):
                raise Stopped
        status = self._first_steps.returncode
        self._await(*(name for name in ("worker", "webhooks") if name in self.children))
        self.folder.change(phase="ready", first_steps=status, ready_after=round(time.time() - self.began, 1))
        return status

    def watch(self) -> None:
        """Restart what dies, and have verdicts that are missing told, until a signal comes."""
        watchman = Watchman(self.folder, self.wishes.estate, self.say)
        while not self.stopping.wait(LOOK_SECONDS):
            self._look()
            if self.wishes.worker:
                watchman.tick()
        watchman.stop()

    def stop(self) -> None:
        """Stop everything that this or an earlier supervisor of the folder started."""
        self.folder.change(phase="stopping")
        if self._first_steps and self._first_steps.poll() is None:
            _end(self._first_steps)
        for name in CHILDREN:
            if name in self.children:
                self.children[name].stop()
        if self.database:
            self.database.stop()
        self.folder.change(phase="stopped", supervisor=None)

    def say(self, what: str) -> None:
        print(f"  {time.time() - self.began:5.1f} s  {what}", flush=True)

    def _begin(self, child: Child) -> None:
        self.children[child.program.name] = child
        if child.start():
            self.say(f"{child.program.name} kept (process {child.identity.pid if child.identity else '?'})")

    def _begin_first_steps(self) -> None:
        argv = [sys.executable, "-m", "deployments.stack.first_steps", f"--began={self.began}"]
        argv += [] if self.wishes.deploy else ["--no-deploy"]
        argv += [] if self.wishes.sample else ["--no-sample"]
        env = {**child_environment(self.folder.root), "CARETAKER_ESTATE": str(self.wishes.estate)}
        self._first_steps = subprocess.Popen(
            argv, env=env, cwd=HOME, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def _await(self, *names: str) -> None:
        """Wait until these children answer. Raises OpsError with the last line of one that died, or Stopped."""
        waiting, deadline = dict.fromkeys(names), time.monotonic() + START_SECONDS
        while waiting:
            for name in list(waiting):
                child = self.children[name]
                if not child.alive:
                    raise OpsError(f"starting {name} failed: {self._last_line(name)}; see {self.folder.log(name)}")
                if child.program.healthy():
                    del waiting[name]
                    self.say(name)
            if time.monotonic() > deadline:
                late, logs = ", ".join(waiting), self.folder.root / "logs"
                raise OpsError(f"starting {late} failed: no answer in {START_SECONDS:.0f} s; see {logs}")
            if waiting and self.stopping.wait(0.05):
                raise Stopped

    def _look(self) -> None:
        """Restart what died, each time after a longer pause."""
        for name, child in self.children.items():
            if not child.alive:
                self._restart(name, child.start)
        if self.database and not self.database.healthy():
            self._restart("PostgreSQL", self.database.start)

    def _restart(self, name: str, start: Any) -> None:
        now = time.monotonic()
        if now < self._pause_until.get(name, 0):
            return
        quiet = now - self._pause_until.get(name, 0) > QUIET_SECONDS
        count = 0 if quiet else self._restarts[name]
        self._restarts[name] = count + 1
        pause = RESTART_PAUSES_SECONDS[min(count, len(RESTART_PAUSES_SECONDS) - 1)]
        self._pause_until[name] = now + pause
        self.say(f"{name} ended; starting it again ({self._last_line(name)})")
        start()

    def _last_line(self, name: str) -> str:
        path = self.folder.log(name)
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1].strip() if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the first steps: a deploy that runs in them stops as one that is killed, and the next one goes on."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
