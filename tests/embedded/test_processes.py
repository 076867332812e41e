"""Children are found again after their parent died, and nothing else is ever touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from embedded.processes import MARK_VARIABLE, Child, Record, reap

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
#: Ignores SIGTERM, and says when it does.
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
#: Starts a child of its own and prints its number.
PARENT = f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)"


def start(folder: Path, argv: list[str], **options: object) -> Child:
    return Child.start(argv, cwd=folder, env={"PATH": os.environ["PATH"]}, record=folder / "child.json", **options)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_has_exactly_the_environment_that_it_was_given(tmp_path: Path) -> None:
    child = start(tmp_path, [sys.executable, "-S", "-c", "import os; print(*os.environ)"], stdout=subprocess.PIPE)
    assert set(child.stdout.read().decode().split()) - {"LC_CTYPE"} == {"PATH", MARK_VARIABLE}
    assert child.stop(1) == 0
    assert not list(tmp_path.iterdir())


def test_a_child_that_ignores_the_signal_is_forced_when_the_grace_is_over(tmp_path: Path) -> None:
    child = start(tmp_path, [sys.executable, "-S", "-c", STUBBORN], stdout=subprocess.PIPE)
    child.stdout.readline()
    begun = time.monotonic()
    assert child.stop(0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_command_that_does_not_exist_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(tmp_path, ["/nowhere/command"])
    assert not list(tmp_path.iterdir())


def test_what_an_earlier_parent_left_is_ended_with_its_descendants(tmp_path: Path) -> None:
    child = start(tmp_path, [sys.executable, "-S", "-c", PARENT], stdout=subprocess.PIPE)
    grandchild = int(child.stdout.readline())
    assert reap(tmp_path, grace=2) == 2
    assert child.wait(5) == -signal.SIGTERM
    assert not runs(grandchild)
    assert not list(tmp_path.iterdir())


def test_a_child_whose_number_was_never_written_down_is_found_by_its_mark(tmp_path: Path) -> None:
    child = start(tmp_path, SLEEP)
    Record(Record.read(tmp_path / "child.json").mark).write(tmp_path / "child.json")
    assert reap(tmp_path, grace=2) == 1
    assert child.wait(5) == -signal.SIGTERM


def test_a_foreign_process_with_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    foreign = subprocess.Popen(SLEEP)
    try:
        record = Record("a mark", foreign.pid, psutil.Process(foreign.pid).create_time() - 60)
        record.write(tmp_path / "child.json")
        assert not record.alive()
        assert reap(tmp_path, grace=0.1) == 0
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_record_that_a_kill_cut_short_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("embedded.processes.json.dumps", lambda _: "")
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Record(mark="m").write(tmp_path / "child.json")
    assert len(list(tmp_path.iterdir())) == 1
    assert reap(tmp_path, 1) == 0
