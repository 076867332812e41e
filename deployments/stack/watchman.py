"""Has ``caretaker watch`` look every few minutes, as cron does in production: a process that looks and ends.

Safety property: it shares nothing with Prefect but the machine, and a look that hangs is ended.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deployments.environment import child_environment
from deployments.stack.folder import Folder
from deployments.stack.programs import HOME

EVERY_SECONDS = 300.0
LONGEST_SECONDS = 120.0


class Watchman:
    """Starts a look when it is time, and says what it found."""

    def __init__(self, folder: Folder, estate: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._env = {**child_environment(folder.root), "CARETAKER_ESTATE": str(estate)}
        self._look: subprocess.Popen[str] | None = None
        self._began = -EVERY_SECONDS

    def tick(self) -> None:
        """Begin a look, or end one; to be called often."""
        if self._look is None:
            if time.monotonic() - self._began >= EVERY_SECONDS:
                self._begin()
        elif self._look.poll() is not None:
            self._end()
        elif time.monotonic() - self._began > LONGEST_SECONDS:
            self._look.kill()

    def stop(self) -> None:
        """End a look that is under way."""
        if self._look:
            self._look.kill()
            self._look.wait()
            self._look = None

    def _begin(self) -> None:
        self._began = time.monotonic()
        log = self._folder.log("watch").open("w")
        with log:
            self._look = subprocess.Popen(
                [sys.executable, "-m", "deployments.cli", "watch"], env=self._env, cwd=HOME,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip

    def _end(self) -> None:
        assert self._look is not None
        if self._look.returncode:
            for line in self._folder.log("watch").read_text().strip().splitlines()[-5:]:
                self._say(f"watch: {line}")
        self._look = None
