"""The embedded stack for tests: PostgreSQL, local cloud and Prefect's server, started as ``caretaker up`` does.

One stack serves a whole session; a project per test keeps the tests apart. It runs no worker: flows run in the test's
own process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.environment import prefect_environment
from deployments.stack.folder import Folder
from deployments.stack.programs import cloud_endpoints
from deployments.stack.status import read_status
from embedded.ports import free_port
from localcloud.control_client import Control
from tests.memory import in_memory_if_there_is_room, temporary_folder

CARETAKER = [sys.executable, "-m", "deployments.cli"]
ROOT = Path(__file__).parent.parent
QUIET = ("--no-deploy", "--no-sample", "--no-worker", "--no-webhooks")


class Stack:
    """A running stack. ``grpc`` and ``storage`` are the local cloud's addresses."""

    def __init__(self, state: Path) -> None:
        self.folder = Folder(state)
        endpoints = cloud_endpoints(self.folder)
        assert endpoints is not None
        self.grpc: str = endpoints["grpc"]
        self.storage: str = endpoints["storage"]
        self.sockets = Path(endpoints["sockets"])
        self.control = Control(endpoints["control"])

    @property
    def state(self) -> Path:
        return self.folder.root

    @property
    def ui(self) -> str:
        return str(self.status()["urls"]["ui"])

    def status(self) -> dict[str, Any]:
        return read_status(self.folder)


def caretaker(state: Path, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run the command on a state folder; its output is text."""
    command, *options = arguments
    argv = [*CARETAKER, command, "--state", str(state), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=ROOT)


def up(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a stack in the background, on a port of its own, and return when it is ready."""
    return caretaker(state, "up", "--detach", f"--ui-port={free_port()}", *options)


@contextmanager
def running_stack(state: Path, *options: str) -> Iterator[Stack]:
    """A stack for as long as the block runs; this process's Prefect and settings are pointed at it."""
    before = dict(os.environ)
    try:
        started = up(state, *(options or QUIET))
        assert started.returncode == 0, started.stdout + started.stderr
        os.environ.update(prefect_environment(state))
        _prefect_reads_the_environment()
        yield Stack(state)
    finally:
        stopped = caretaker(state, "down")
        os.environ.clear()
        os.environ.update(before)
        _prefect_reads_the_environment()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


_shared: list[bool] = []


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack that the tests of a session share.

    There is one: the settings of this process are pointed at it, and a second one would leave the tests of the first
    with a control that speaks to another local cloud than their flows.
    """
    assert not _shared, "a module imports this fixture; take it from tests/conftest.py by its name alone"
    _shared.append(True)
    with temporary_folder(in_memory_if_there_is_room()) as folder, running_stack(folder) as running:
        yield running


def _prefect_reads_the_environment() -> None:
    """Prefect reads it once, when it is imported, and a test module may have imported it before."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
