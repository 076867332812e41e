"""Reads what a whole database holds and whether its structure is sound: production for a manifest, a copy for a drill.

Safety property: sessions are read-only, but for the one that installs ``amcheck`` on a copy; memory here does not grow
with the database, because counting, hashing and checking are done by the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients import inspection_sql as sql
from tasks.clients.inspection_makeup import Makeup
from tasks.clients.inspection_rows import Relation, Rows
from tasks.clients.inspection_structure import ForeignKey, Structure

if TYPE_CHECKING:
    from sqlalchemy import Engine

Item = TypeVar("Item")
Answer = TypeVar("Answer")

class Session(Makeup, Rows, Structure):
    """What one session can tell. Not to be used by two threads at once."""


class Inspector:
    """One database as one user."""

    def __init__(self, url: SecretStr, application: str = "caretaker-drill") -> None:
        self._url, self._application = url, application

    @contextmanager
    def session(self, *, snapshot: bool = False, writes: bool = False) -> Iterator[Session]:
        """A session; with ``snapshot`` all of it sees one moment. Read-only unless it ``writes``."""
        from tasks.clients.database_errors import translated

        level = "REPEATABLE READ" if snapshot else "AUTOCOMMIT"
        engine = self._engine(writes).execution_options(isolation_level=level)
        with translated("connecting", self.where):
            connection = engine.connect()
        with connection:
            yield Session(connection, self.where, deadlines.WHOLE_TABLE)

    def each(self, items: Iterable[Item], work: Callable[[Session, Item], Answer], jobs: int) -> list[Answer]:
        """Do some work on every item, in ``jobs`` sessions at once; each takes the next item when it is free.

        The first error ends the work, once what is under way has ended.
        """
        queue, turn, failed = iter(items), threading.Lock(), threading.Event()

        def take() -> list[Answer]:
            answers = []
            with self.session() as session:
                while not failed.is_set():
                    with turn:
                        item = next(queue, None)
                    if item is None:
                        break
                    try:
                        answers.append(work(session, item))
                    except BaseException:
                        failed.set()
                        raise
            return answers

        with ThreadPoolExecutor(jobs, "inspect") as pool:
            workers = [pool.submit(take) for _ in range(jobs)]
        return [answer for worker in workers for answer in worker.result()]

    @cached_property
    def where(self) -> str:
        """``user@database``, for messages."""
        from tasks.clients import engines

        return engines.where(engines.parse(self._url, "a database"))

    def _engine(self, writes: bool) -> Engine:
        from tasks.clients import engines

        read_only = {} if writes else {"default_transaction_read_only": "on"}
        return engines.postgres(
            engines.parse(self._url, "a database"),
            self._application,
            deadlines.WHOLE_TABLE,
            {**sql.SESSION, **read_only},
        )


__all__ = ["ForeignKey", "Inspector", "Relation", "Session"]
