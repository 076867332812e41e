"""``caretaker up`` and ``caretaker down``: a stack in the foreground, in the background, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deployments.stack.children import Identity, end_orphans, stop_process
from deployments.stack.database import Database
from deployments.stack.folder import Folder
from deployments.stack.programs import AFTER_DRAIN_SECONDS, CHILDREN, DRAIN_SECONDS, HOME
from deployments.stack.supervisor import Stopped, Supervisor, Wishes
from tasks.errors import OpsError

#: What everything but the worker's running flows may take to stop.
STOP_SECONDS = 60.0


def up(folder: Folder, wishes: Wishes) -> int:
    """Run a stack until Ctrl-C or SIGTERM; exit status 0 when it was stopped so. Raises OpsError for a failed start."""
    from deployments.stack.status import StatusServer, read_status
    from deployments.stack.summary import print_summary

    supervisor = Supervisor(folder, wishes)
    supervisor.take_over()
    status = StatusServer(supervisor)
    try:
        supervisor.start()
        failed = supervisor.finish_first_steps()
        print_summary(read_status(folder), failed, "Ctrl-C")
        supervisor.watch()
    except Stopped:
        pass
    finally:
        supervisor.say("stopping")
        status.close()
        supervisor.stop()
        supervisor.say("stopped; everything is kept in " + str(folder.root))
    return 0


def detach(folder: Folder, arguments: Sequence[str]) -> int:
    """Start ``caretaker up`` as a process of its own, show what it says, and return once the stack is ready."""
    folder.prepare()
    log = folder.log("supervisor")
    log.unlink(missing_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "up", *arguments], cwd=HOME, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )
    with log.open() as shown:
        while process.poll() is None and not _ready(folder, process.pid):
            _show(shown.read())
            time.sleep(0.05)
        _show(shown.read())
    if process.returncode is not None:
        return process.returncode or 1
    from deployments.stack.status import read_status
    from deployments.stack.summary import print_summary

    failed = int(folder.read().get("first_steps") or 0)
    print_summary(read_status(folder), failed, "'caretaker down'")
    return failed


def down(folder: Folder) -> int:
    """Stop the stack of a folder, and what a killed supervisor left. Stopping what is stopped succeeds."""
    remembered = folder.read()
    supervisor = Identity.recorded(remembered.get("supervisor"))
    if supervisor and supervisor.alive:
        supervisor.signal(signal.SIGTERM)
        if not supervisor.wait(_drain_seconds(folder) + STOP_SECONDS):
            raise OpsError(
                f"stopping {folder.root} failed: process {supervisor.pid} is still there; see {folder.root / 'logs'}"
            )
        return 0
    end_leftovers(folder)
    return 0


def end_leftovers(folder: Folder) -> None:
    """End the recorded children of a supervisor that is gone, in the order of dependence."""
    remembered = folder.read()
    children = remembered.get("children", {})
    for name in CHILDREN:
        if left := Identity.recorded(children.get(name)):
            grace = AFTER_DRAIN_SECONDS + (_drain_seconds(folder) if name == "worker" else 0)
            stop_process(left, grace)
            end_orphans(left.pid, folder)
            folder.remember_child(name, None)
    if remembered:
        Database(folder).stop()
        folder.change(phase="stopped", supervisor=None)


def _drain_seconds(folder: Folder) -> float:
    return float(folder.read().get("drain_seconds", DRAIN_SECONDS))


def _ready(folder: Folder, pid: int) -> bool:
    remembered = folder.read()
    supervisor = remembered.get("supervisor") or {}
    return remembered.get("phase") == "ready" and supervisor.get("pid") == pid


def _show(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(text)
        sys.stdout.flush()


def estate_of(given: Path | None) -> Path:
    """The estate file of this start, absolute: children run elsewhere."""
    from tasks.settings import settings

    return (given or settings().estate).resolve()
