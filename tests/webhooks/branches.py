"""A git repository with a branch that moves: what the receiver and reconcile follow in the tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WHO = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER")
       for field, value in {"NAME": "Test", "EMAIL": "test@localhost"}.items()}  # fmt: skip


class Repository:
    """A repository in a folder, with the branch ``main`` checked out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def git(self, *arguments: str, date: str = "2026-03-01T12:00:00Z") -> str:
        env = {**os.environ, **WHO, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(["git", *arguments], cwd=self.folder, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str = "change", date: str = "2026-03-01T12:00:00Z") -> str:
        """Commit all that is there, and give the commit. Its date is whatever the test says: nothing may depend on it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message, date=date)
        return self.git("rev-parse", "HEAD")
