"""The processes of a stack: told from strangers, kept, and ended to the last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments.stack.children import Child, Identity, Program, end_orphans
from deployments.stack.folder import Folder
from tasks.errors import Conflict
from tests.deployments.runs import wait_until

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
#: A parent that starts a child of its own, says so, and waits.
FAMILY = (
    sys.executable, "-c",
    "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(p.pid, flush=True); time.sleep(60)",
)  # fmt: skip
DEAF = (
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "state")
    made.prepare()
    return made


def program(folder: Folder, argv: tuple[str, ...] = SLEEP, **changes: object) -> Program:
    env = {**os.environ, "CARETAKER_STATE": str(folder.root)}
    fields = {"name": "child", "argv": argv, "env": env, "cwd": folder.root, "grace_seconds": 2}
    return Program(**{**fields, "healthy": lambda: True, **changes})


def said(folder: Folder) -> str:
    """The first line that the child printed."""
    deadline = time.monotonic() + 10
    while not (text := folder.log("child").read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text.strip()


def test_a_child_is_written_down_and_gone_after_its_stop(folder: Folder) -> None:
    child = Child(folder, program(folder))
    assert child.start() is False
    pid = folder.read()["children"]["child"]["pid"]
    assert child.alive
    assert psutil.pid_exists(pid)
    child.stop()
    assert not child.alive
    assert Identity.of(pid) is None
    assert folder.read()["children"] == {}


def test_the_same_program_is_kept_by_the_next_supervisor(folder: Folder) -> None:
    first, second = Child(folder, program(folder)), Child(folder, program(folder))
    first.start()
    assert second.start() is True
    assert second.identity == first.identity
    second.stop()
    assert not first.alive


def test_another_setting_of_ours_ends_the_old_child_and_one_of_the_shell_does_not(folder: Folder) -> None:
    first = Child(folder, program(folder))
    first.start()
    shells = {**os.environ, "CARETAKER_STATE": str(folder.root), "EDITOR": "ed"}
    assert Child(folder, program(folder, env=shells)).start() is True
    other = Child(folder, program(folder, env={**shells, "PREFECT_API_URL": "http://127.0.0.1:1/api"}))
    assert other.start() is False
    assert not first.alive
    other.stop()


def test_a_process_of_the_same_id_but_another_start_is_never_signalled(folder: Folder) -> None:
    stranger = subprocess.Popen(SLEEP)
    try:
        folder.remember_child("child", {"pid": stranger.pid, "started": "1", "fingerprint": "x"})
        child = Child(folder, program(folder))
        assert child.start() is False
        assert child.identity is not None
        assert child.identity.pid != stranger.pid
        child.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_child_that_ignores_sigterm_is_killed_with_all_it_started(folder: Folder) -> None:
    child = Child(folder, program(folder, DEAF, grace_seconds=0.2))
    child.start()
    said(folder)
    child.stop()
    assert not child.alive
    family = Child(folder, program(folder, FAMILY))
    folder.log("child").unlink()
    family.start()
    grandchild = int(said(folder))
    family.stop()
    wait_until(lambda: Identity.of(grandchild) is None, "the grandchild to end")


def test_what_a_killed_child_left_is_ended_and_a_strangers_process_is_not(folder: Folder) -> None:
    child = Child(folder, program(folder, FAMILY))
    child.start()
    grandchild = int(said(folder))
    assert child.identity is not None
    os.kill(child.identity.pid, signal.SIGKILL)
    assert child.exit_status != 0 or child.identity.wait(5)
    end_orphans(child.identity.pid, Folder(folder.root / "another"))
    assert Identity.of(grandchild) is not None
    end_orphans(child.identity.pid, folder)
    gone = Identity(grandchild, "any")
    assert gone.wait(5)


def test_one_state_folder_has_one_supervisor(folder: Folder) -> None:
    folder.hold()
    with pytest.raises(Conflict, match="it is running already"):
        Folder(folder.root).hold()


def test_a_secret_is_made_once(folder: Folder) -> None:
    assert folder.secret("one") == Folder(folder.root).secret("one")
    assert folder.secret("one") != folder.secret("two")
