"""The care of a database under chaos: killed at any moment, and the server restarted under it.

Beside the writing calls, which the harness finds in the call log, there are moments: what is between two calls is SQL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from localcloud.control_client import Control
from tasks.upkeep_store import STATEMENTS, path_of
from tests.chaos.cases import Case
from tests.chaos.harness import RUN_SECONDS, Outcome
from tests.chaos.runner import Run, context
from tests.flows.care import Cared

#: Statements of ours at which a run is killed, or the server restarted under it, as pg_stat_activity shows them.
AT_WORK = ("VACUUM", "ANALYZE", "REINDEX")
SETTLING_SECONDS = 20.0
FURTHER_RUNS = 2
ROWS = 150_000
_MAKE = (
    "CREATE EXTENSION IF NOT EXISTS pgstattuple",
    "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
    "DROP TABLE IF EXISTS shelf, stale",
    "CREATE TABLE shelf (id int PRIMARY KEY, note text NOT NULL) WITH (autovacuum_enabled = off)",
    "CREATE INDEX shelf_note ON shelf (note)",
    "CREATE TABLE stale (id int PRIMARY KEY, note text NOT NULL) WITH (autovacuum_enabled = off)",
)


class MaintainDatabaseScenario:
    """One database; every run finds dead rows, a bloated index, stale statistics and what a rebuild left."""

    flow = "maintain-database"

    def __init__(self, cared: Cared, control: Control) -> None:
        self.project, self.folder = cared.sample.project, cared.sample.folder
        self._cared, self._control = cared, control

    def prepare(self) -> dict[str, Any]:
        """Plant the needs again; the parameters with the approval of exactly this plan.

        The statements that are compared with are kept once a day: without them each run keeps some, as the first did.
        """
        self._cared.sample.site.bucket.delete(path_of(self._cared.database, STATEMENTS))
        with self._cared.connect() as connection:
            for statement in _MAKE:
                connection.execute(statement)
            connection.execute(f"INSERT INTO shelf SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i")
            connection.execute(f"INSERT INTO stale SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i")
            connection.execute("DELETE FROM shelf WHERE id % 5 <> 0")
            connection.execute("SELECT pg_stat_force_next_flush()")
            connection.execute("VACUUM ANALYZE shelf, stale")
            connection.execute("UPDATE shelf SET note = md5(note) WHERE id % 2 = 0")
            connection.execute("UPDATE stale SET note = md5(note) WHERE id % 8 = 0")
            _leave(connection, self._cared)
            connection.execute("SELECT pg_stat_force_next_flush()")
        planned = self._cared.care(dry_run=True)
        kinds = {one.kind for one in planned.plan.actions}
        assert {"vacuum", "analyze", "reindex", "drop_leftover"} <= kinds, planned.report
        return {"estate": str(self._cared.sample.estate_file), "approve": planned.plan.digest, "window_minutes": 5}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """All of it was done; no leftover index, session, lock or window is there."""
        wrong = self.check_safe()
        if verdict["verdict"] not in ("maintained", "nothing_to_do"):
            wrong.append(f"ended {verdict['verdict']}: {str(verdict.get('why'))[:400]}")
        if left := self._rows("SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)[0-9]*$'"):
            wrong.append(f"left indexes {left}")
        if left := self._rows("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"):
            wrong.append(f"left invalid {left}")
        if (dead := self._rows("SELECT pg_stat_get_dead_tuples('shelf'::regclass)")[0][0]) > 1000:
            wrong.append(f"{dead} dead rows are left")
        if self._rows("SELECT pg_relation_size('shelf_note')")[0][0] > 4_000_000:
            wrong.append("the index is as large as before")
        if left := self._cared.sample.site.bucket.list("maintenance/pyplots/window"):
            wrong.append(f"the window is still open: {left}")
        return wrong

    def check_safe(self) -> list[str]:
        """No session and no lock of ours outlives the run."""
        end = time.monotonic() + SETTLING_SECONDS
        while time.monotonic() < end and self._sessions():
            time.sleep(0.2)
        left = self._sessions()
        return [f"sessions and locks left: {left}"] if left else []

    def _sessions(self) -> list[Any]:
        return self._rows(
            "SELECT a.pid, a.application_name FROM pg_stat_activity a WHERE a.application_name LIKE 'caretaker%' "
            "UNION SELECT l.pid, 'advisory' FROM pg_locks l WHERE l.locktype = 'advisory'"
        )

    def _rows(self, statement: str) -> list[Any]:
        with self._cared.connect("-c role=none") as connection:
            return connection.execute(statement).fetchall()

    # --- moments -----------------------------------------------------------------------------------------------------

    def moments(self) -> Iterator[Outcome]:
        """A kill and a restart of the server at each kind of statement."""
        for statement in AT_WORK:
            for kind in ("hold_before", "error"):
                yield self._moment(statement, kind)

    def _moment(self, statement: str, kind: str) -> Outcome:
        """``hold_before`` kills the run while the statement is at work; ``error`` restarts the server under it."""
        began, parameters, processes = time.monotonic(), self.prepare(), context()
        run = Run(processes, self.flow, parameters, self.folder)
        met = self._await(statement, run)
        if kind == "hold_before":
            run.kill()
            verdict, runs = {"verdict": "killed", "why": ""}, 1
        else:
            self._restart()
            verdict, runs = run.wait(RUN_SECONDS), 1
        unsafe = self.check_safe()
        wrong = self.check(verdict)
        while (kind == "hold_before" and runs == 1) or (wrong and runs <= FURTHER_RUNS):
            verdict, runs = Run(processes, self.flow, parameters, self.folder).wait(RUN_SECONDS), runs + 1
            wrong = self.check(verdict)
        case = Case(f"{statement} (SQL)", 1, kind)
        return Outcome(case, met, runs, str(verdict["verdict"]), (*unsafe, *wrong), time.monotonic() - began)

    def _await(self, statement: str, run: Run) -> bool:
        """Wait until our statement is at work; false where the run ended before it was seen."""
        with self._cared.connect("-c role=none") as connection:
            asked = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'caretaker-maintenance' "
                f"AND state = 'active' AND query LIKE '{statement}%'"
            )
            while run.alive:
                if connection.execute(asked).fetchone():
                    return True
                time.sleep(0.001)
        return False

    def _restart(self) -> None:
        site, instance = self._cared.sample.site, self._cared.database.instance
        operation = site.sql._instances.restart(request={"project": self.project, "instance": instance})
        site.sql.wait_operation(operation.name)


def _leave(connection: Any, cared: Cared) -> None:
    """Break a rebuild off, so that it leaves an invalid index."""
    import psycopg

    with cared.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM stale")
        connection.execute("SET lock_timeout = 200")
        try:
            connection.execute("REINDEX INDEX CONCURRENTLY stale_pkey")
        except psycopg.errors.LockNotAvailable:
            connection.execute("RESET lock_timeout")
            return
    raise AssertionError("the rebuild was not broken off")
