"""The care of a database against ``vacuumdb``: the time of the same work, the I/O of all of it, and who is disturbed.

``vacuumdb`` and ``pgbench`` are PostgreSQL's own, of the same release as the server. Rounds alternate, so that a busy
machine is busy for both, and the least disturbed of each counts.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from embedded.postgres import binaries
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep import Upkeep
from tasks.clients.upkeep_work import Workshop
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import Action, Effect
from tasks.upkeep_window import Window
from tests.benchmarks.needy import DATABASE, NEEDY, Needy, needy

ROUNDS = 5
POLICY = MaintenancePolicy()
TIME, IO, P95, BLOCKED = 1.05, 5.0, 1.2, 2.0
#: The load: this many transactions a second from this many sessions, measured for so long before.
RATE, SESSIONS, BEFORE = 200, 4, 20.0
_SCRIPT = """\\set id random(1, {rows})
\\set other random(1, {rows})
SELECT count(*) FROM work WHERE owner = :id % 1000;
UPDATE work SET note = md5(note) WHERE id = :other;
"""


def bench() -> list[dict[str, Any]]:
    """Measure the work and the disturbance where the needy tables are large, the I/O where all are alike."""
    with needy(300_000, 1_000) as large:
        rows = [*_same_work(large), *_undisturbed(large)]
    with needy(12_000, 12_000) as alike:
        return [*rows, *_less_io(alike)]


# --- the same work ---------------------------------------------------------------------------------------------------


def _same_work(made: Needy) -> Iterator[dict[str, Any]]:
    ours, looks, theirs = [], [], []
    for number in range(ROUNDS + 1):
        made.need()
        began = time.monotonic()
        actions = _actions(made)
        looked = time.monotonic()
        _care(made, actions)
        ended = time.monotonic()
        made.need()
        again = time.monotonic()
        _vacuumdb_chosen(made)
        if number:  # the first round warms both up
            theirs.append(time.monotonic() - again)
            ours.append(ended - looked)
            looks.append(looked - began)
    against = f"vacuumdb --analyze --jobs 2 of the same {len(NEEDY)} tables: {min(theirs):.2f} s, best of {ROUNDS}"
    yield _row("time of the same work", min(ours) / min(theirs), "to 1", TIME, against)
    whole = (min(ours) + min(looks)) / min(theirs)
    yield {**_row("the same, with finding out which tables", whole, "to 1", TIME, against), "goal": None, "ok": True}
    pairs = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    yield {**_row("the same work, median of the rounds' ratios", pairs, "to 1", TIME, against), "goal": None, "ok": True}


def _care(made: Needy, actions: Sequence[Action]) -> None:
    effects = _window(made, actions).effects
    assert [effect.ended for effect in effects] == ["done"] * len(NEEDY), effects


def _actions(made: Needy) -> tuple[Action, ...]:
    """What the plan says: VACUUM and ANALYZE of the needy tables, and nothing else."""
    with Upkeep(made.url).session() as look:
        server = look.server()
        facts = _facts(look, server)
    actions = [action for action in plan(DATABASE, facts, POLICY).actions if action.light]
    assert {action.target.removeprefix("public.") for action in actions} >= set(NEEDY), actions
    return tuple(action for action in actions if action.target.removeprefix("public.") in NEEDY)


def _facts(look: Any, server: Any) -> Any:
    from tasks.maintenance_models import Facts

    return Facts(server=server, tables=tuple(look.tables(server.version)))


def _window(
    made: Needy, actions: Sequence[Action], *, guarded: bool = True, minutes: float = 10, keep: Any = lambda _: None
) -> Window:
    window = Window(
        Workshop(made.url, "public"), POLICY, datetime.now(UTC) + timedelta(minutes=minutes), keep, guarded=guarded
    )
    window.run(actions)
    return window


def _vacuumdb_chosen(made: Needy) -> None:
    tables = [f"--table={name}" for name in NEEDY]
    made.cluster.run("vacuumdb", ["--analyze", "--jobs=2", "--quiet", *tables, DATABASE])


# --- the I/O of the whole --------------------------------------------------------------------------------------------


def _less_io(made: Needy) -> Iterator[dict[str, Any]]:
    spent: dict[str, list[float]] = {"ours": [], "analyze": [], "plain": []}
    for _ in range(2):
        for name, work in (("ours", lambda made: _care(made, _actions(made))), ("analyze", _vacuumdb_all), ("plain", _vacuumdb_plain)):
            made.need()
            before = made.io_milliseconds()
            work(made)
            spent[name].append(made.io_milliseconds() - before)
    ours, whole, plain = (min(spent[name]) for name in ("ours", "analyze", "plain"))
    of = f"of all 200 tables, of which {len(NEEDY)} need it"
    yield {
        "name": "maintain database: I/O time saved", "value": round(whole / ours, 2), "unit": "to 1",
        "goal": f">= {IO:g}", "ok": whole / ours >= IO,
        "against": f"vacuumdb --analyze --jobs 2 {of}: {whole:.0f} ms, ours {ours:.0f} ms",
    }  # fmt: skip
    yield {
        "name": "maintain database: I/O time saved, no statistics", "value": round(plain / ours, 2), "unit": "to 1",
        "goal": None, "ok": True, "against": f"vacuumdb --jobs 2 {of}: {plain:.0f} ms; ours analyzes too",
    }  # fmt: skip


def _vacuumdb_all(made: Needy) -> None:
    made.cluster.run("vacuumdb", ["--analyze", "--jobs=2", "--quiet", DATABASE])


def _vacuumdb_plain(made: Needy) -> None:
    made.cluster.run("vacuumdb", ["--jobs=2", "--quiet", DATABASE])


# --- who is disturbed ------------------------------------------------------------------------------------------------


def _undisturbed(made: Needy) -> Iterator[dict[str, Any]]:
    rows = 100_000
    made.execute(
        "SET ROLE keeper", "CREATE TABLE work (id int PRIMARY KEY, owner int, note text)",
        f"INSERT INTO work SELECT i, i % 1000, md5(i::text) FROM generate_series(1, {rows}) i",
        "CREATE INDEX work_owner ON work (owner)", "VACUUM ANALYZE work", "RESET ROLE",
    )  # fmt: skip
    found = {guarded: _under_load(made, rows, guarded=guarded) for guarded in (True, False)}
    for guarded, name in ((True, "p95 of the load, with the guard"), (False, "p95 of the load, without the guard")):
        before, during, _, said = found[guarded]
        against = f"{before:.2f} ms before, {during:.2f} ms while we worked; {said}"
        row = _row(name, during / before, "to 1", P95, against)
        yield row if guarded else {**row, "goal": None, "ok": during / before > found[True][1] / found[True][0]}
    blocked = found[True][2]
    yield _row("longest wait of a session for us", blocked, "s", BLOCKED, "an ALTER TABLE every 3 s, with the guard")


def _under_load(made: Needy, rows: int, *, guarded: bool) -> tuple[float, float, float, str]:
    """p95 before and while we work, in milliseconds; the longest wait for us in seconds; what was done."""
    made.need()
    actions = _actions(made)
    effects: list[Effect] = []
    with _load(made, rows) as log:
        began = time.time()
        time.sleep(BEFORE)
        with _altering(made) if guarded else _nobody() as waits:
            working = time.time()
            window = _window(made, actions, guarded=guarded, minutes=1.5, keep=effects.append)
            ended = time.time()
        time.sleep(1)
    latencies = _read(log)
    first = min((effect.began.timestamp() for effect in effects if effect.began), default=working)
    before = _p95(value for at, value in latencies if began <= at < working)
    during = _p95(value for at, value in latencies if first <= at <= ended)
    done = sum(effect.ended == "done" for effect in effects)
    said = f"{done} of {len(actions)} tables in {ended - first:.0f} s, {len(window.pauses)} pauses"
    return before, during, max(waits, default=0.0), said


@contextmanager
def _load(made: Needy, rows: int) -> Iterator[Path]:
    """pgbench at a steady rate; the folder of its log, which has every transaction's latency."""
    with tempfile.TemporaryDirectory(prefix="pgbench-") as name:
        folder = Path(name)
        script = folder / "script.sql"
        script.write_text(_SCRIPT.format(rows=rows))
        info = made.cluster.conninfo(DATABASE)
        environment = {"PGHOST": info["host"], "PGPORT": str(info["port"]), "PGUSER": info["user"],
                       "PGPASSWORD": info["password"], "PGAPPNAME": "load"}  # fmt: skip
        arguments = ["--no-vacuum", f"--client={SESSIONS}", f"--rate={RATE}", "--time=600", "--log",
                     f"--log-prefix={folder / 'log'}", f"--file={script}", DATABASE]  # fmt: skip
        process = subprocess.Popen(
            [str(binaries() / "pgbench"), *arguments], env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            time.sleep(2)
            assert process.poll() is None, "pgbench did not start"
            yield folder
        finally:
            process.terminate()
            process.wait(10)


def _read(folder: Path) -> list[tuple[float, float]]:
    """Time and latency in milliseconds of each transaction. A line: client, number, µs, script, s, µs, lag."""
    found = []
    for path in folder.glob("log*"):
        for line in path.read_text().splitlines():
            fields = line.split()
            if len(fields) >= 7:
                lag = float(fields[6])
                found.append((float(fields[4]) + float(fields[5]) / 1e6, (float(fields[2]) - lag) / 1000))
    return found


@contextmanager
def _altering(made: Needy) -> Iterator[list[float]]:
    """Somebody who changes a table that we vacuum, every three seconds: how long each change took."""
    stop, waits = threading.Event(), list[float]()

    def alter() -> None:
        with made.cluster.connect(DATABASE) as connection:
            while not stop.wait(3):
                for name in NEEDY:
                    began = time.monotonic()
                    connection.execute(f"ALTER TABLE {name} ALTER note SET STATISTICS 100")
                    waits.append(time.monotonic() - began)

    thread = threading.Thread(target=alter, daemon=True)
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join(30)


@contextmanager
def _nobody() -> Iterator[list[float]]:
    yield []


def _p95(values: Any) -> float:
    ordered = sorted(values)
    assert len(ordered) >= 100, f"only {len(ordered)} transactions: p95 would mean nothing"
    return ordered[int(0.95 * len(ordered))]


def _row(name: str, value: float, unit: str, goal: float, against: str) -> dict[str, Any]:
    return {
        "name": f"maintain database: {name}", "value": round(value, 3), "unit": unit, "goal": f"<= {goal:g}",
        "ok": value <= goal, "against": against,
    }  # fmt: skip


