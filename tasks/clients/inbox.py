"""The inbox of webhook deliveries, a table of the ledger.

Safety property: a delivery is written in the transaction that marks its id, so it is there once or not at all, and it
is there before its sender hears so. Each step that follows says from which status it goes on, so of two that race one
does nothing; and the database allows one release under way for each project.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.clients.ledger_database import LedgerDatabase, utc
from tasks.delivery_models import OPEN, UNDER_WAY, Arrival, Delivery, Settlement, Signature, Status
from tasks.errors import Conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: GitHub sends again what is at most three days old; the rest is for people who ask what became of a delivery.
KEPT = timedelta(days=90)
#: How many commits that were settled are remembered when the next one is judged.
REMEMBERED = 1000
#: How many that wait are judged at once; the others are next, so an inbox that filled up in an outage fits into memory.
LOOKED_AT = 2000
TICKET_BYTES = 24


class Inbox(LedgerDatabase):
    """The deliveries of one project. ``sessions``: how many database sessions it keeps; none: one for each use."""

    def __init__(self, url: SecretStr | str, project: str, sessions: int = 0) -> None:
        super().__init__(url)
        self._project, self._sessions = project, sessions

    def ensure(self) -> None:
        """Create the ledger's tables where they are missing. Safe to repeat."""
        from tasks.clients import ledger_schema

        with self._translated("preparing the inbox"):
            ledger_schema.ensure(self._engine)

    def accept(self, arrival: Arrival, now: datetime) -> Delivery:
        """Write a delivery down, and give it as it stands in the inbox; see ``accept_all``."""
        return self.accept_all([arrival], now)[0]

    def accept_all(self, arrivals: Sequence[Arrival], now: datetime) -> list[Delivery]:
        """Write deliveries down in one transaction, and give each as it stands in the inbox.

        Safe to repeat: the same id, or the same content under another id, gives the one that was written first.
        """
        from tasks.clients.ledger_schema import deliveries

        # In one order, so that two receivers that write the same do not wait for one another.
        rows = [self._row(one, now) for one in sorted(arrivals, key=lambda one: (one.source, one.delivery))]
        statement = self._insert(deliveries).on_conflict_do_nothing().returning(deliveries)
        what = f"writing down {arrivals[0].source}/{arrivals[0].delivery}"
        with self._translated(what), self._engine.begin() as connection:
            made = [_delivery(dict(row)) for row in connection.execute(statement, rows).mappings()]
            written = {(one.source, one.delivery): one for one in made}
            return [written.get((one.source, one.delivery)) or self._first(connection, one) for one in arrivals]

    def _row(self, arrival: Arrival, now: datetime) -> dict[str, Any]:
        return {
            **arrival.model_dump(), "project": self._project, "ticket": secrets.token_urlsafe(TICKET_BYTES),
            "received": now, "due": now, "status": "ignored" if arrival.ignored else "waiting",
            "settled": now if arrival.ignored else None, "note": arrival.ignored,
        }  # fmt: skip

    def _first(self, connection: Connection, arrival: Arrival) -> Delivery:
        from tasks.clients.ledger_schema import deliveries

        ours = (deliveries.c.project == self._project, deliveries.c.source == arrival.source)
        for same in (deliveries.c.delivery == arrival.delivery, deliveries.c.digest == arrival.digest):
            found = connection.execute(deliveries.select().where(*ours, same)).mappings().first()
            if found is not None:
                return _delivery(dict(found))
        raise Conflict(f"writing down {arrival.source}/{arrival.delivery} failed: it was deleted in the same moment")

    def by_ticket(self, ticket: str) -> Delivery | None:
        """The delivery that a status URL names; None where there is none."""
        from tasks.clients.ledger_schema import deliveries

        query = deliveries.select().where(deliveries.c.ticket == ticket, deliveries.c.project == self._project)
        return next(iter(self._read("reading a delivery", query)), None)

    def open(self, limit: int = LOOKED_AT) -> list[Delivery]:
        """The deliveries without an outcome: the one whose release is under way, then those that wait, oldest first."""
        from tasks.clients.ledger_schema import deliveries as table

        ours = (table.c.project == self._project, table.c.status.in_(OPEN))
        query = table.select().where(*ours).order_by(table.c.status == "waiting", table.c.id).limit(limit)
        return self._read("reading the inbox", query)

    def with_commit(self) -> list[Delivery]:
        """The newest deliveries with an outcome that named a commit, newest first."""
        from tasks.clients.ledger_schema import deliveries as table

        ours = (table.c.project == self._project, table.c.status.not_in(OPEN), table.c.commit != "")
        query = table.select().where(*ours).order_by(table.c.settled.desc(), table.c.id.desc()).limit(REMEMBERED)
        return self._read("reading the inbox's outcomes", query)

    def signatures(self) -> tuple[Signature, ...]:
        """By which versions of their secret the senders' deliveries were proved; what is long settled is forgotten."""
        from sqlalchemy import func, select

        from tasks.clients.ledger_schema import deliveries as table

        proved = (table.c.source, table.c.secret_version)
        query = select(*proved, func.min(table.c.received), func.max(table.c.received)).group_by(*proved)
        with self._translated("reading the inbox's signatures"), self._engine.connect() as connection:
            rows = connection.execute(query.where(table.c.project == self._project)).all()
        return tuple(Signature(source=s, version=v, first=utc(first), last=utc(last)) for s, v, first, last in rows)

    def settle(self, settlements: Iterable[Settlement], now: datetime) -> None:
        """Give waiting deliveries their outcomes. One that somebody else settled or took meanwhile keeps its own."""
        with self._changing("settling deliveries") as connection:
            for one in settlements:
                meant = {"commit": one.commit} if one.commit else {}
                self._move(connection, one.id, ("waiting",), status=one.status, note=one.note, settled=now, **meant)

    def choose(self, number: int, commit: str, settlements: Iterable[Settlement], now: datetime) -> bool:
        """Choose the delivery whose commit is released, and settle those that it stands for, in one transaction.

        False where it was not waiting any more. Raises Conflict where another release is under way.
        """
        with self._changing("choosing a delivery") as connection:
            if not self._move(connection, number, ("waiting",), status="chosen", commit=commit, note="", due=now):
                return False
            for one in settlements:
                self._move(connection, one.id, ("waiting",), status=one.status, note=one.note, settled=now)
            return True

    def started(self, number: int, run: str) -> None:
        """Note the run of a chosen delivery."""
        with self._changing("noting a run") as connection:
            self._move(connection, number, ("chosen",), status="running", run=run)

    def unchoose(self, number: int) -> None:
        """Put a chosen delivery for which no run was made back among those that wait."""
        with self._changing("putting a delivery back") as connection:
            self._move(connection, number, ("chosen",), status="waiting")

    def ended(self, number: int, status: Status, note: str, now: datetime) -> None:
        """Give a delivery that was chosen its outcome."""
        with self._changing("settling a delivery") as connection:
            self._move(connection, number, UNDER_WAY, status=status, note=note, settled=now)

    def again(self, one: Delivery, note: str, due: datetime) -> None:
        """Put a delivery whose run came to nothing back among those that wait, for one more attempt."""
        with self._changing("putting a delivery back") as connection:
            after = {"status": "waiting", "attempts": one.attempts + 1, "run": "", "note": note, "due": due}
            self._move(connection, one.id, UNDER_WAY, **after)

    def forget(self, now: datetime) -> None:
        """Delete what was settled long ago. Safe to repeat."""
        from tasks.clients.ledger_schema import deliveries as table

        old = (table.c.project == self._project, table.c.settled.is_not(None), table.c.settled < now - KEPT)
        with self._changing("forgetting old deliveries") as connection:
            connection.execute(table.delete().where(*old))

    def close(self) -> None:
        """End the sessions that it keeps."""
        self._engine.dispose()

    def _move(self, connection: Connection, number: int, before: tuple[Status, ...], **after: Any) -> bool:
        from tasks.clients.ledger_schema import deliveries as table

        ours = (table.c.id == number, table.c.project == self._project, table.c.status.in_(before))
        return bool(connection.execute(table.update().where(*ours).values(**after)).rowcount)

    @contextmanager
    def _changing(self, what: str) -> Iterator[Connection]:
        from sqlalchemy.exc import IntegrityError

        with self._translated(what):
            try:
                with self._engine.begin() as connection:
                    yield connection
            except IntegrityError as error:
                raise Conflict(f"{what} failed: another release is under way; wait for it") from error

    def _insert(self, table: Any) -> Any:
        from sqlalchemy.dialects import postgresql, sqlite

        return (sqlite if self._is_sqlite else postgresql).insert(table)

    def _read(self, what: str, query: Any) -> list[Delivery]:
        with self._translated(what), self._engine.connect() as connection:
            return [_delivery(dict(row)) for row in connection.execute(query).mappings()]

    @cached_property
    def _engine(self) -> Engine:
        from tasks.clients import engines

        if self._is_sqlite:
            return engines.sqlite(self._url)
        if self._sessions:
            return engines.pooled(self._url, "caretaker inbox", self._sessions)
        return engines.postgres(self._url, "caretaker inbox")

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        from tasks.clients.database_errors import translated
        from tasks.errors import TransientError

        try:
            with translated(what, self._where):
                yield
        except PoolTimeout as error:
            busy = f"{what} on {self._where} failed: every session is busy; retrying may clear this"
            raise TransientError(busy) from error


def _delivery(row: Mapping[str, Any]) -> Delivery:
    times = {name: row[name] and utc(row[name]) for name in ("received", "due", "settled")}
    return Delivery.model_validate({**row, **times})
