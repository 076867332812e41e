"""What one embedded stack keeps on disk, and the lock that makes it one stack per state folder.

Safety property: ``stack.json`` is replaced as a whole, so a reader never sees half of it; a child is in it before it is
waited for, so that whoever comes after a ``kill -9`` knows what still runs. Secrets are files that only their owner
reads.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from pathlib import Path
from threading import RLock
from typing import IO, Any

from tasks.errors import Conflict


class Folder:
    """The state folder of one stack."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self._lock = RLock()
        self._held: IO[str] | None = None

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def database(self) -> Path:
        return self.root / "database"

    def log(self, name: str) -> Path:
        """Where a child's output goes."""
        return self.root / "logs" / f"{name}.log"

    def prepare(self) -> None:
        """Make the folders. Others may pass through them: under root PostgreSQL runs as another user."""
        for path in (self.root, self.prefect, self.root / "logs"):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def read(self) -> dict[str, Any]:
        """What is remembered: ``ports``, ``supervisor``, ``children``, ``phase``. Empty before the first start."""
        try:
            return dict(json.loads((self.root / "stack.json").read_text()))
        except FileNotFoundError:
            return {}

    def change(self, **fields: Any) -> None:
        """Replace some of the remembered fields."""
        with self._lock:
            replace(self.root / "stack.json", json.dumps({**self.read(), **fields}, indent=1, sort_keys=True))

    def remember_child(self, name: str, child: dict[str, Any] | None) -> None:
        """Remember a child's process, or forget it."""
        with self._lock:
            children = {key: value for key, value in self.read().get("children", {}).items() if key != name}
            self.change(children=children if child is None else {**children, name: child})

    def secret(self, name: str, make: Any = None) -> str:
        """A secret of this stack, made when it is first asked for; the file's mode is 0600."""
        path = self.root / "secrets" / name
        with self._lock:
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace(path, (make or password)(), mode=0o600)
            return path.read_text()

    def hold(self) -> None:
        """Take the lock of this stack for as long as this process lives. Raises Conflict when it is taken."""
        held = (self.root / "lock").open("a+")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            raise Conflict(
                f"starting the stack in {self.root} failed: it is running already; see 'caretaker status', or stop it "
                "with 'caretaker down'"
            ) from None
        self._held = held


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is there as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def password() -> str:
    return secrets.token_urlsafe(24)


def fernet_key() -> str:
    """A key as Prefect's encryption wants it: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
