"""A killed ``caretaker run`` is known by its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from deployments.stack.children import Identity
from deployments.stack.folder import Folder, replace
from deployments.stack.foreground import dead, forget, remember


def test_a_run_of_a_living_process_is_not_dead_and_a_forgotten_one_is_none(tmp_path: Path) -> None:
    folder, run = Folder(tmp_path), uuid4()
    remember(folder, run)
    assert dead(folder) == []
    forget(folder, run)
    forget(folder, run)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_whose_process_is_gone_or_whose_id_was_given_to_another_is_dead(tmp_path: Path) -> None:
    folder, gone, reused = Folder(tmp_path), uuid4(), uuid4()
    code = f"from deployments.stack.foreground import *; remember(Folder(Path('{tmp_path}')), UUID('{gone}'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    me = Identity.of(1)
    assert me
    replace(tmp_path / "runs" / f"{reused}.json", f'{{"pid": 1, "started": "{me.started}0"}}')
    assert set(dead(folder)) == {gone, reused}
