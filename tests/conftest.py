"""What every test of the local cloud stands on: one real process, reached as the official clients reach Google."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from localcloud.control_client import Control
from tests.memory import in_memory_if_there_is_room
from tests.stack import stack

#: Here and nowhere else: pytest takes a fixture that a module imports for another one, and would start it again.
__all__ = ["stack"]

# The official client would else read buckets' metadata in threads of its own, and meet faults meant for other calls.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
ROOT = Path(__file__).parent.parent
READY_SECONDS = 120.0
STOP_SECONDS = 120.0


class LocalCloud:
    """A ``python -m localcloud`` of our own, in a session of its own, on a state folder of its own."""

    grpc: str
    storage: str
    bigquery: str
    control: Control
    sockets: Path
    pid: int

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state.with_name(f"{state.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    def start(self, *options: str) -> None:
        # With the signals ignored, as a non-interactive shell starts what it runs in the background.
        command = ["sh", "-c", 'trap "" INT TERM; exec "$@"', "sh", sys.executable, "-m", "localcloud"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--state", str(self.state), *options],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._read_addresses()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as ``caretaker down`` does, and every process that it left; return its exit status."""
        status = self._end(number)
        self.end_leftovers()
        return status

    def kill(self) -> None:
        """``kill -9``: no clean-up runs, and the processes that it had started live on."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = True) -> None:
        """Stop the process, by ``kill -9`` unless told otherwise, and start it on the same state."""
        if kill:
            self.kill()
        else:
            self._end(signal.SIGTERM)
        self.start()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._remember_children()
        self.control.close()
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)

    def _remember_children(self) -> None:
        if self.running():
            self._seen |= {child.pid: child for child in psutil.Process(self.pid).children(recursive=True)}

    def end_leftovers(self) -> None:
        # is_running compares the start time too: a pid that was given to another process is not touched.
        left = [child for child in self._seen.values() if child.is_running()]
        for child in left:
            child.terminate()
        for child in psutil.wait_procs(left, timeout=5)[1]:
            child.kill()
        self._seen.clear()

    def _read_addresses(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while (found := self._addresses()) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the local cloud did not become ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)
        self.grpc, self.storage, self.bigquery = found["grpc"], found["storage"], found["bigquery"]
        self.sockets, self.pid = Path(found["sockets"]), found["pid"]
        self.control = Control(found["control"])

    def _addresses(self) -> dict | None:
        try:
            found = json.loads((self.state / "localcloud.json").read_text())
        except FileNotFoundError:
            return None
        # What a killed process left is not ours.
        return found if found["pid"] == self._process.pid else None


#: Files that take long begin first: one that begins last would be waited for by all.
LONGEST_FIRST = ("tests/chaos/", "tests/flows/", "tests/deployments/", "tests/localcloud/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, part in enumerate(LONGEST_FIRST) if part in str(item.path)), 9))


# Where pytest makes the tests' own folders.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", in_memory_if_there_is_room())


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short path, below which Unix sockets fit; every user may look through it, as PostgreSQL must."""
    folder = Path(tempfile.mkdtemp(prefix="lc-", dir=in_memory_if_there_is_room()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def local_cloud(short_folder: Path) -> Iterator[LocalCloud]:
    """The local cloud that the tests of a session share; a project per test keeps them apart."""
    yield from running_cloud(short_folder / "s")


@pytest.fixture(scope="module")
def own_local_cloud(short_folder: Path) -> Iterator[LocalCloud]:
    """A local cloud that this module has alone: for tests that kill it. Each leaves it running."""
    yield from running_cloud(short_folder / secrets.token_hex(3))


def running_cloud(state: Path) -> Iterator[LocalCloud]:
    cloud = LocalCloud(state)
    try:
        cloud.start()
        yield cloud
    finally:
        if cloud.running():
            cloud.stop()
        cloud.end_leftovers()
        if hasattr(cloud, "sockets"):
            shutil.rmtree(cloud.sockets, ignore_errors=True)


@pytest.fixture
def project() -> str:
    """A project id that no other test has."""
    return f"t-{secrets.token_hex(3)}"


@pytest.fixture
def channel(local_cloud: LocalCloud) -> Iterator[grpc.Channel]:
    """A gRPC channel to the shared local cloud, as the official clients' transports take it."""
    with open_channel(local_cloud) as opened:
        yield opened


@pytest.fixture
def faults(local_cloud: LocalCloud, project: str) -> Iterator[Control]:
    """The control API, rid of this project's faults at the end."""
    yield local_cloud.control
    local_cloud.control.clear(project)


def open_channel(cloud: LocalCloud) -> grpc.Channel:
    # A killed server is back in a second or two: a client that waits a minute for it would make the test wait.
    return grpc.insecure_channel(cloud.grpc, options=[("grpc.max_reconnect_backoff_ms", 200)])


