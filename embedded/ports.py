"""Free TCP ports on loopback, so that several stacks live side by side.

Ports are taken below the range from which the kernel chooses for outgoing connections: only another server can take a
port that the state remembers. Safety property: of the processes of one user that choose with this module at the same
time, each gets a port of its own, though the server that it is for listens only later.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import threading
from collections import deque
from pathlib import Path

from embedded.temporary import shared_file

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: How many ports there are to choose from, and the first one that needs no rights.
SPAN, LOWEST_PORT = 12_000, 1_024
_DEFAULT_EPHEMERAL = 32_768
_TRIES = 200
#: How many of a process's choices stay reserved: each has been listened on, or given up, long before it is dropped.
_KEPT = 256


def port_range() -> range:
    """The ports to choose from: those just below the kernel's own for outgoing connections."""
    try:
        end = int(EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:  # another kernel than Linux
        end = _DEFAULT_EPHEMERAL
    if end <= 2 * LOWEST_PORT:  # the kernel takes nearly all of them; a server then has to share
        end = _DEFAULT_EPHEMERAL
    return range(max(LOWEST_PORT, end - SPAN), end)


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: what an earlier connection left in TIME_WAIT does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Return the preferred port if it is free, else a free one of ``port_range``, and reserve it.

    The reservation keeps this port from other callers of this function, here and in the user's other processes, while
    this process lives and has not chosen many more. Raises OSError when none is found, NotOurs where
    another user has the file of reservations.
    """
    if preferred is not None and is_free(preferred) and _RESERVED.take(preferred, again=True):
        return preferred
    choice = port_range()
    for _ in range(_TRIES):
        port = random.choice(choice)  # noqa: S311 - nothing secret hangs on a port
        if is_free(port) and _RESERVED.take(port):
            return port
    raise OSError(f"no free port between {choice[0]} and {choice[-1]} on 127.0.0.1 in {_TRIES} tries")


class _Reserved:
    """The ports that this process has chosen: one byte locked for each, in a file that all processes share.

    The kernel drops a process's record locks when it ends, however it ends, and gives none to a fork of it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._file: int | None = None
        self._owner = 0
        self._ports: deque[int] = deque()

    def take(self, port: int, *, again: bool = False) -> bool:
        """Reserve a port. False when another process has, or this one has and does not ask for it again."""
        with self._guard:
            file = self._opened()
            if port in self._ports:
                return again
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
                return False
            self._ports.append(port)
            if len(self._ports) > _KEPT:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, self._ports.popleft())
            return True

    def _opened(self) -> int:
        """The file, opened by this very process: a fork has its parent's memory, but not its locks."""
        if self._file is None or self._owner != os.getpid():
            self._file = shared_file("ports")
            self._owner = os.getpid()
            self._ports.clear()
        return self._file


_RESERVED = _Reserved()
