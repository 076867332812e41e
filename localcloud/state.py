"""The state folder: who holds it, and what it tells those who look for the local cloud.

Safety property: ``localcloud.json`` is there, whole, exactly while a process serves this state; after a ``kill -9`` the
next start removes it before it touches anything else.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedded.ports import is_free

_ADDRESSES = "localcloud.json"


@dataclass(frozen=True)
class Ports:
    """The ports that were asked for; None where any will do."""

    grpc: int | None = None
    storage: int | None = None
    control: int | None = None
    bigquery: int | None = None

    def check(self) -> None:
        """Raise StartError for a port that is in use, before anything is made in the state folder."""
        for name, port in asdict(self).items():
            if port is not None and not is_free(port):
                raise taken(port, name)


class StartError(Exception):
    """The local cloud cannot start. The message is one line and names the way out."""


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the state folder, made if need be. Raises StartError when another process holds it, or it is not ours."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state folder {state} cannot be used: {error.strerror}; name another with --state"
        raise StartError(message) from error
    try:
        _hold(descriptor, state)
        yield
    finally:
        os.close(descriptor)


def taken(port: int, name: str) -> StartError:
    """The error of a port that another process has."""
    option = {"storage": "http"}.get(name, name)
    return StartError(f"port {port} on 127.0.0.1 is in use; free it or name another with --{option}-port")


def announce(state: Path, addresses: dict[str, Any]) -> None:
    """Tell where the local cloud answers: it is ready."""
    scratch = state / f"{_ADDRESSES}.new"
    with scratch.open("w") as file:
        json.dump(addresses, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(state / _ADDRESSES)


def withdraw(state: Path) -> None:
    """Take back what ``announce`` told. Succeeds when there is nothing to take back."""
    (state / _ADDRESSES).unlink(missing_ok=True)


def _hold(descriptor: int, state: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        raise StartError(
            f"the state folder {state} is served by another local cloud (pid {holder}); "
            "stop it or name another with --state"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
