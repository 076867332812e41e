"""The sandbox on this machine: what a command in it cannot reach, and what is said where it cannot be had."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.clients.sandbox import Sandbox, failed_tests

PYTHON = Path(sys.base_prefix)
needs_it = pytest.mark.skipif(bool(Sandbox().why_not), reason=Sandbox().why_not)


def said(tree: Path, script: str, seconds: float = 20) -> str:
    tree.mkdir(exist_ok=True)
    run = Sandbox([PYTHON]).run(["sh", "-c", script], tree, tree, [PYTHON / "bin"], seconds)
    return run.tail


@needs_it
def test_a_command_sees_its_own_folder_and_the_systems_programs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    script = f"cat {tmp_path}/secret; ls {tmp_path}; ls /home /var /run /sys; touch /usr/x; echo ok > out"
    seen = said(tmp_path / "tree", script)
    assert "hunter2" not in seen
    assert seen.count("No such file") == 5
    assert "Read-only file system" in seen
    assert (tmp_path / "tree" / "out").read_text() == "ok\n"


@needs_it
def test_a_command_sees_no_variable_no_other_process_and_can_become_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2")
    script = "env; cat /proc/*/environ; grep Cap /proc/self/status; mount -t tmpfs t /tmp; unshare -Ur true"
    seen = said(tmp_path / "tree", script)
    assert "hunter2" not in seen
    assert seen.count("0000000000000000") == 5
    assert "permission denied" in seen
    assert "Operation not permitted" in seen


@needs_it
def test_a_command_has_its_own_loopback_and_no_other_network(tmp_path: Path) -> None:
    script = """python3 -c '
import socket
own = socket.create_server(("127.0.0.1", 0))
socket.create_connection(own.getsockname()).close()
print("own loopback")
try:
    socket.create_connection(("192.0.2.1", 53), 2)
except OSError as error:
    print("outside:", error)
'"""
    seen = said(tmp_path / "tree", script)
    assert "own loopback" in seen
    assert "outside: [Errno 101] Network is unreachable" in seen


@needs_it
def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    seen = said(tmp_path / "tree", "(while sleep 0.1; do date +%s > beat; done) & sleep 100", seconds=1)
    assert "no end after 1 s" in seen
    assert time.monotonic() - began < 15
    beat = (tmp_path / "tree" / "beat").read_text()
    time.sleep(1.3)
    assert (tmp_path / "tree" / "beat").read_text() == beat


def test_where_there_is_no_unshare_it_is_said_and_variables_are_kept_away_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    box = Sandbox([PYTHON])
    assert "no unshare" in box.why_not
    run = box.run(["sh", "-c", "env; exit 3"], tmp_path, tmp_path, [], 20)
    assert not run.passed
    assert "hunter2" not in run.tail


def test_failed_tests_are_named_as_their_runners_write_them() -> None:
    output = "FAILED tests/test_a.py::test_b - assert 1\nERROR tests/test_c.py\n × adds numbers\nok 1 - fine\n"
    assert failed_tests(output) == ("tests/test_a.py::test_b", "tests/test_c.py", "adds numbers")
    assert failed_tests("FAIL  src/x.test.ts > adds\nFAILED tests/test_a.py::test_b\n") == (
        "src/x.test.ts", "tests/test_a.py::test_b"
    )  # fmt: skip


@needs_it
def test_a_command_ends_with_the_worker_that_was_killed_while_it_waited_for_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    waits = (
        "import sys; from pathlib import Path; from tasks.clients.sandbox import Sandbox; tree = Path(sys.argv[1]); "
        "Sandbox().run(['sh', '-c', 'while sleep 0.1; do date +%s%N > beat; done'], tree, tree, [], 100)"
    )
    worker = subprocess.Popen([sys.executable, "-c", waits, str(tree)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tree / "beat").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    time.sleep(0.5)
    beat = (tree / "beat").read_text()
    time.sleep(1)
    assert (tree / "beat").read_text() == beat
