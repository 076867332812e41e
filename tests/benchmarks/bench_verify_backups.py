"""A drill of 1 GB in 200 tables, against hand-written scripts of the same restore and the same checks.

Two scripts, since a backup can be got at in two ways. *On the files*: copy the backup's files, start PostgreSQL on
them, ``pg_amcheck -j2``, count and hash every table in two sessions. *By the API*: the same checks, but on an instance
that is created, restored into and deleted again through Cloud SQL's API, which is the only way to a managed backup. The
second says what the flow itself costs; the first also what the platform does beside the restore. All run by turns,
since whatever else the machine does slows them all. The growth from 0.1 to 1 GB is printed, not judged.
"""

from __future__ import annotations

import secrets
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from embedded.postgres import Cluster
from embedded.programs import binaries, environment, execute
from embedded.unprivileged import give
from localcloud.sql.roles import ADMIN
from tasks.backup_models import DrillVerdict
from tasks.clients.inspection_sql import CONTENT, SESSION
from tests.flows.drills import Drilled
from tests.memory import temporary_folder
from tests.sample import Sample
from tests.stack import Stack, running_stack

GOAL = 1.1
TABLES = 200
TURNS = 3
#: A row of about 200 bytes: a key, a reference, a time and some text that no two rows share.
_TABLE = (
    "CREATE TABLE {name} (id bigint PRIMARY KEY, parent bigint, at timestamptz NOT NULL, words text NOT NULL)",
    "INSERT INTO {name} SELECT i, i / 7, now() - i * interval '1 second',"
    " repeat(md5(i::text), 4) FROM generate_series(1, {rows}) i",
    "CREATE INDEX ON {name} (at)",
)


@dataclass(frozen=True)
class Measured:
    """One drill or one script: seconds, and the most memory that our process had."""

    seconds: float
    memory: int = 0
    verdict: DrillVerdict | None = None


Turn = tuple[Measured, Measured, Measured]


def bench() -> list[dict[str, Any]]:
    """Drill and scripts by turns at 1 GB, and one drill at 0.1 GB."""
    with temporary_folder() as folder, running_stack(folder / "state") as stack:
        small = filled(stack, folder, "bench-small", 0.1)
        first = drill(small)
        large = filled(stack, folder, "bench-large", 1.0)
        turns = [
            (drill(large), by_api(large), on_the_files(large, folder / f"by-hand-{number}"))
            for number in range(TURNS)
        ]
    return rows_of(first, turns)


def filled(stack: Stack, folder: Path, project: str, gigabytes: float) -> Drilled:
    """An estate with a database of so many tables and about that size, with a night behind it."""
    sample = Sample(folder / project, project).write()
    text = sample.estate_file.read_text()
    start, end = text.index("# The pictures of the plots"), text.index("[[services]]")
    sample.estate_file.write_text(text[:start] + text[end:])
    drilled = Drilled(sample.seed(), stack)
    rows = int(gigabytes * 1e9 / TABLES / 250)
    for number in range(TABLES):
        name = "specs" if number == 0 else f"t{number}"
        drilled.execute(*(statement.format(name=name, rows=rows) for statement in _TABLE))
    drilled.night()
    return drilled


def drill(drilled: Drilled) -> Measured:
    """The flow, from its first call to its report."""
    watch = _Memory()
    began = time.monotonic()
    with watch:
        verdict = drilled.drill()
    seconds = time.monotonic() - began
    bad = [level.why for level in verdict.levels if level.level in (0, 2, 3, 4, 5) and level.verdict != "passed"]
    assert not bad, bad
    assert drilled.leftovers() == []
    return Measured(seconds, watch.most, verdict)


def by_api(drilled: Drilled) -> Measured:
    """Create, restore, check, count, delete."""
    sql, database = drilled.sample.site.scratch, drilled.database
    password, name = SecretStr(secrets.token_urlsafe(16)), f"by-hand-{secrets.token_hex(3)}"
    began = time.monotonic()
    sql.wait_operation(sql.create_scratch(name, database.instance, "db-f1-micro", {"made-by": "hand"}))
    newest = next(run for run in sql.backups(database.instance) if run.status == "SUCCESSFUL")
    sql.wait_operation(sql.restore(newest.id, database.instance, name))
    sql.set_password(name, "postgres", password)
    host = drilled.stack.sockets / sql.instance(name).connection_name
    _check({"PGHOST": str(host), "PGUSER": "postgres", "PGPASSWORD": password.get_secret_value()})
    sql.delete_instance(name)
    return Measured(time.monotonic() - began)


def on_the_files(drilled: Drilled, folder: Path) -> Measured:
    """Copy, start, check, count; what it made is removed after the clock has stopped."""
    paths = drilled.control.sql_paths(drilled.project, drilled.database.instance)
    backup = paths.backups[max(paths.backups)]
    folder.mkdir()
    give(folder)
    began = time.monotonic()
    subprocess.run(["cp", "-a", str(backup), str(folder / "data")], check=True)
    cluster = Cluster(folder / "data", folder / "s", superuser=ADMIN)
    give(folder)
    cluster.start()
    try:
        known = cluster.conninfo("pyplots")
        _check({"PGHOST": known["host"], "PGUSER": known["user"], "PGPASSWORD": known["password"]})
        seconds = time.monotonic() - began
    finally:
        cluster.stop()
        shutil.rmtree(folder)
    return Measured(seconds)


def _check(login: dict[str, str]) -> None:
    """``pg_amcheck -j2``, then count and hash every table in two psql sessions."""
    login = {**login, "PGDATABASE": "pyplots"}
    depth = ["--jobs=2", "--heapallindexed", "--install-missing=public", "--database=pyplots"]
    execute("pg_amcheck", depth, login)
    tables = ["specs", *(f"t{number}" for number in range(1, TABLES))]
    settings = "".join(f"SET {name} = '{value}';\n" for name, value in SESSION.items())
    halves = [settings + "".join(f"{CONTENT.format(table=t)};\n" for t in tables[half::2]) for half in (0, 1)]
    running = [
        subprocess.Popen(
            [str(binaries() / "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, env=environment(login),
            stdout=subprocess.DEVNULL, text=True,
        )
        for _ in halves
    ]  # fmt: skip
    for process, statements in zip(running, halves, strict=True):
        assert process.stdin is not None
        process.stdin.write(statements)
        process.stdin.close()
    assert [process.wait() for process in running] == [0, 0]


class _Memory:
    """The most resident memory of this process while inside."""

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.05):
            self.most = max(self.most, process.memory_info().rss)


def rows_of(small: Measured, turns: list[Turn]) -> list[dict[str, Any]]:
    """The figures, for the table."""
    one = sorted((turn[0] for turn in turns), key=lambda measured: measured.seconds)[len(turns) // 2]
    assert one.verdict is not None
    assert small.verdict is not None
    levels = ", ".join(f"{item.name} {item.seconds:.1f} s" for item in one.verdict.levels if item.seconds)
    size = f"{(one.verdict.restored_bytes or 0) / 1e9:.2f} GB, {TABLES} tables"
    most = f"{one.memory / 1e6:.0f} MB at most"
    return [
        _ratio("drill / script on the files, 1 GB", [(turn[0], turn[2]) for turn in turns]),
        _ratio("drill / script by the API, 1 GB", [(turn[0], turn[1]) for turn in turns]),
        _row("drill, 1 GB", one.seconds, "s", None, f"{size}: {levels}"),
        _row("script by the API, 1 GB", _median(turn[1] for turn in turns), "s", None, "create, restore, check, drop"),
        _row("script on the files, 1 GB", _median(turn[2] for turn in turns), "s", None, "cp, start, the same checks"),
        _row("drill, 0.1 GB", small.seconds, "s", None, f"{(small.verdict.restored_bytes or 0) / 1e9:.2f} GB"),
        _row("growth of time, 0.1 to 1 GB", one.seconds / small.seconds, "ratio", None, "ten times the data"),
        _row("growth of memory, 0.1 to 1 GB", (one.memory - small.memory) / 1e6, "MB", None, most),
    ]


def _ratio(name: str, pairs: list[tuple[Measured, Measured]]) -> dict[str, Any]:
    ratios = [drilled.seconds / script.seconds for drilled, script in pairs]
    tried = ", ".join(f"{one:.2f}" for one in ratios)
    return _row(name, statistics.median(ratios), "ratio", GOAL, f"the median of {tried}")


def _median(measured: Iterable[Measured]) -> float:
    return statistics.median(one.seconds for one in measured)


def _row(name: str, value: float, unit: str, goal: float | None, against: str) -> dict[str, Any]:
    return {
        "name": f"verify-backups: {name}", "value": round(value, 2), "unit": unit, "goal": goal,
        "ok": goal is None or value <= goal, "against": against,
    }  # fmt: skip
