"""Breaks a statement that reads for minutes off as soon as anybody waits for it.

Safety property: nobody waits for a measurement for longer than a second. Whoever wants to change a table that is read
whole would wait for the reader, and every query of the application behind that change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.clients.statements import Statements, pid_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOOK_EVERY_SECONDS = 0.3
#: Locks are seen by everybody, and one's own sessions may be cancelled by everybody.
_GIVE_WAY = """
SELECT pg_cancel_backend(:pid) WHERE EXISTS (
    SELECT FROM pg_locks l WHERE NOT l.granted AND l.pid <> :pid AND :pid = ANY(pg_blocking_pids(l.pid)))
"""


class _Warden(Statements):
    def watch_over(self, pid: int, over: threading.Event) -> None:
        """Look who waits for a session, until it is over."""
        while not over.wait(LOOK_EVERY_SECONDS):
            self._rows("looking who waits for a measurement", _GIVE_WAY, pid=pid)


@contextmanager
def giving_way(engine: Engine, where: str, reader: Connection) -> Iterator[None]:
    """While inside, what ``reader`` runs is cancelled where somebody waits for it."""
    from tasks.clients.database_errors import translated

    pid, over = pid_of(reader), threading.Event()
    with translated("connecting", where):
        connection = engine.connect()
    with connection, ThreadPoolExecutor(1, "giving-way") as pool:
        watching = pool.submit(_Warden(connection, where, None).watch_over, pid, over)
        try:
            yield
        finally:
            over.set()
        watching.result()
