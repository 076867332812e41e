"""Free TCP ports on loopback, so that several stacks live side by side.

Ports are taken below 32768, where the kernel's own choice for outgoing connections begins: only another server can
take a port that the state remembers.
"""

from __future__ import annotations

import random
import socket

LOWEST_PORT = 20_000
EPHEMERAL_FROM = 32_768
_TRIES = 200


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
    """Return the preferred port if it is free, else a free one below 32768.

    Nothing is reserved: another process may take it before the caller does. Raises OSError when none is found.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(_TRIES):
        port = random.randrange(LOWEST_PORT, EPHEMERAL_FROM)  # noqa: S311 - nothing secret hangs on a port
        if is_free(port):
            return port
    raise OSError(f"no free port between {LOWEST_PORT} and {EPHEMERAL_FROM - 1} on 127.0.0.1 in {_TRIES} tries")
