"""The guard's own session: what it judges by, how far our statements are, and how they are broken off.

Safety property: nothing here waits, and nothing here writes, but for the cancellation of our own statements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.clients import upkeep_work_sql as sql
from tasks.clients.statements import Statements

if TYPE_CHECKING:
    from sqlalchemy import Connection


CHOOSE_EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """One look of the guard. ``at`` is on the clock of ``time.monotonic``; ``counters``: calls and milliseconds."""

    at: float
    counters: dict[str, tuple[int, float]] | None = None
    probe_ms: float = 0.0
    lag_bytes: float = 0.0
    blocked_seconds: float = 0.0
    others: int = 0


@dataclass(frozen=True)
class Step:
    """How far one statement of ours is. ``done`` is 0…1, or None where the phase does not tell."""

    name: str
    phase: str
    done: float | None = None


class Watch(Statements):
    """The session of the guard. ``schema`` is that of pg_stat_statements, None where it is not installed."""

    def __init__(self, connection: Connection, where: str, schema: str | None) -> None:
        super().__init__(connection, where, None)
        self._schema = schema
        self._watched: list[str] = []
        self._chosen = 0.0

    def choose(self) -> None:
        """Choose the statements whose latency is watched: those of the application that run most."""
        if self._schema is not None:
            statement = sql.WATCHED.format(schema=self._schema, most=sql.MOST_WATCHED)
            rows = self._rows("choosing the statements to watch", statement)
            self._watched = [row[0] for row in rows]
        self._chosen = time.monotonic()

    def _choose_more(self) -> None:
        """Choose anew as long as there are few: counters that were reset before we came know nothing of the load."""
        if len(self._watched) < sql.MOST_WATCHED and time.monotonic() - self._chosen >= CHOOSE_EVERY_SECONDS:
            self.choose()

    def sample(self, ours: Sequence[int]) -> Sample:
        """Everything that the guard judges by."""
        counters = None
        if self._schema is not None:
            self._choose_more()
            statement = sql.COUNTERS.format(schema=self._schema)
            rows = self._rows("reading the latencies", statement, ids=self._watched)
            counters = {row.id: (row.calls, row.total_ms) for row in rows}
        began = time.monotonic()
        self._rows("probing", sql.PROBE)
        ended = time.monotonic()
        seen = self._one("looking who is disturbed", sql.DISTURBED, ours=list(ours))
        return Sample(ended, counters, (ended - began) * 1000, seen.lag or 0.0, seen.blocked or 0.0, seen.others)

    def cancel(self, ours: Sequence[int]) -> None:
        """Break our own statements off. What a VACUUM has done on the heap stays done."""
        if ours:
            self._rows("pausing", sql.CANCEL, ours=list(ours))

    def steps(self, ours: Sequence[int]) -> list[Step]:
        """How far each of our statements is."""
        if not ours:
            return []
        rows = self._rows("reading the progress", sql.PROGRESS, ours=list(ours))
        return [Step(row.name, row.phase, row.done) for row in rows]
