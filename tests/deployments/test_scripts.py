"""The bootstrap: which uv is used, and where one comes from on a machine without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.stack import ROOT

TOOLS = ("sh", "dirname", "grep", "pwd", "mkdir", "ln", "rm")


def path_with(folder: Path, *tools: str) -> str:
    """A PATH with these tools and nothing else."""
    folder.mkdir()
    for tool in tools:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return str(folder)


def script(name: str, checkout: Path, path: str) -> subprocess.CompletedProcess[str]:
    (checkout / "scripts").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "scripts" / name, checkout / "scripts")
    argv = [shutil.which("sh") or "sh", str(checkout / "scripts" / name)]
    return subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)


def test_without_uv_on_the_path_the_checkouts_own_is_named(tmp_path: Path) -> None:
    answer = script("find-uv", tmp_path, path_with(tmp_path / "bin", *TOOLS))
    assert answer.stdout.strip() == f"{tmp_path}/.uv/bin/uv"


def test_a_recent_uv_on_the_path_is_used(tmp_path: Path) -> None:
    path = path_with(tmp_path / "bin", *TOOLS)
    uv = tmp_path / "bin" / "uv"
    uv.write_text("#!/bin/sh\necho '  --frozen'\n")
    uv.chmod(0o755)
    assert script("find-uv", tmp_path, path).stdout.strip() == str(uv)
    uv.write_text("#!/bin/sh\necho 'error: unrecognized subcommand' >&2; exit 2\n")
    assert script("find-uv", tmp_path, path).stdout.strip() == f"{tmp_path}/.uv/bin/uv", "an old one has no --frozen"


def test_without_python_it_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    answer = script("get-uv", tmp_path, path_with(tmp_path / "bin", *TOOLS))
    assert answer.returncode == 1
    assert "there is none of 3.11 or later on the path" in answer.stderr
    assert not (tmp_path / ".uv").exists()
