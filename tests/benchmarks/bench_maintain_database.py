"""The care of a database against ``vacuumdb``: the time of the same work, the I/O of all of it, and who is disturbed.

``vacuumdb`` and ``pgbench`` are PostgreSQL's own, of the same release as the server. Rounds alternate, so that a busy
machine is busy for both.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from embedded.postgres import binaries
from tasks.analysis.guard import LEARN
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep import Upkeep
from tasks.clients.upkeep_work import Workshop
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import Action
from tasks.upkeep_window import Window
from tests.benchmarks.needy import DATABASE, NEEDY, Needy, needy

BLOCKS = 4
#: Of a needy table: the work takes vacuumdb two seconds or so; what we add to it does not grow with it.
ROWS = 600_000
POLICY = MaintenancePolicy()
TIME, IO, P95, BLOCKED = 1.05, 5.0, 1.2, 2.0
#: The load: so many transactions a second from so many sessions.
RATE, SESSIONS, LOAD_ROUNDS = 200, 4, 5
_SCRIPT = """\\set id random(1, {rows})
\\set other random(1, {rows})
SELECT count(*) FROM work WHERE owner = :id % 1000;
UPDATE work SET note = md5(note) WHERE id = :other;
"""


def bench() -> list[dict[str, Any]]:
    """Measure the work and the disturbance where the needy tables are large, the I/O where all are alike."""
    with needy(ROWS, 1_000) as large:
        rows = [*_same_work(large), *_undisturbed(large)]
    with needy(12_000, 12_000, on_disk=True) as alike:
        return [*rows, *_less_io(alike)]


# --- the same work ---------------------------------------------------------------------------------------------------


def _same_work(made: Needy) -> Iterator[dict[str, Any]]:
    """Each block is ours, theirs, theirs, ours: the updates move rows to and fro, and every second work is dearer.

    On a busy machine only neighbours can be compared.
    """
    blocks = [_block(made) for _ in range(BLOCKS + 1)][1:]  # the first one warms both up
    best = {name: min(second for block in blocks for second in block[name]) for name in ("ours", "theirs")}
    against = f"vacuumdb --analyze --jobs 2 of the same {len(NEEDY)} tables, median of {BLOCKS} times two"
    times = f"; best {best['ours']:.2f} s, vacuumdb {best['theirs']:.2f} s"
    sums = [{name: sum(seconds) for name, seconds in block.items()} for block in blocks]
    ratio = statistics.median(one["ours"] / one["theirs"] for one in sums)
    yield _row("time of the same work", ratio, "to 1", TIME, against + times)
    yield _told("the same work, best to best", best["ours"] / best["theirs"], against + times)
    added = statistics.median(1000 * (one["ours"] - one["theirs"]) / 2 for one in sums)
    yield {**_told("the same work, what we add", added, against), "unit": "ms"}
    whole = statistics.median((one["ours"] + one["looks"]) / one["theirs"] for one in sums)
    yield _told("the same, with finding out which tables", whole, against)


def _block(made: Needy) -> dict[str, list[float]]:
    """The seconds of our work, of our looks, and of theirs, each twice."""
    found: dict[str, list[float]] = {"ours": [], "looks": [], "theirs": []}
    for name in ("ours", "theirs", "theirs", "ours"):
        made.need()
        look, work = _timed(made, name == "ours")
        found[name].append(work)
        if name == "ours":
            found["looks"].append(look)
    return found


def _timed(made: Needy, is_ours: bool) -> tuple[float, float]:
    """The seconds of finding out which tables, and of the work."""
    began = time.monotonic()
    actions = _actions(made) if is_ours else ()
    looked = time.monotonic()
    if is_ours:
        _care(made, actions)
    else:
        _vacuumdb_chosen(made)
    return looked - began, time.monotonic() - looked


def _care(made: Needy, actions: Sequence[Action]) -> None:
    effects = _window(made, actions).effects
    assert [effect.ended for effect in effects] == ["done"] * len(NEEDY), effects


def _actions(made: Needy, names: Sequence[str] = NEEDY) -> tuple[Action, ...]:
    """What the plan says: VACUUM and ANALYZE of the needy tables."""
    with Upkeep(made.url).session() as look:
        server = look.server()
        facts = _facts(look, server)
    actions = [action for action in plan(DATABASE, facts, POLICY).actions if action.light]
    assert {action.target.removeprefix("public.") for action in actions} >= set(names), actions
    return tuple(action for action in actions if action.target.removeprefix("public.") in names)


def _facts(look: Any, server: Any) -> Any:
    from tasks.maintenance_facts import Facts

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
        for name, work in (("ours", _plan_and_care), ("analyze", _vacuumdb_all), ("plain", _vacuumdb_plain)):
            made.need()
            made.go_cold()
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
    without = f"vacuumdb --jobs 2 {of}: {plain:.0f} ms; ours analyzes too"
    yield _told("I/O time saved, no statistics", plain / ours, without)


def _plan_and_care(made: Needy) -> None:
    _care(made, _actions(made))


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
    with _load(made, rows) as latencies:
        spans = {guarded: _Spans() for guarded in (True, False)}
        for number in range(LOAD_ROUNDS):
            for guarded in (number % 2 == 0, number % 2 == 1):
                _work_under_load(made, spans[guarded], guarded=guarded)
        waits = _altering(made)
    with_guard, without = (spans[guarded].ratio(latencies) for guarded in (True, False))
    yield _row("p95 of the load, with the guard", with_guard[0], "to 1", P95, f"{with_guard[1]}; {spans[True].said()}")
    yield {
        **_row("p95 of the load, without the guard", without[0], "to 1", P95, f"{without[1]}; {spans[False].said()}"),
        "goal": "> with the guard", "ok": without[0] > with_guard[0],
    }  # fmt: skip
    yield _row("longest wait of a session for us", max(waits), "s", BLOCKED, f"{len(waits)} changes of tables at work")


@dataclass
class _Spans:
    """When nothing of ours ran and when something did, over all rounds; what was done."""

    calm: list[tuple[float, float]] = field(default_factory=list)
    working: list[tuple[float, float]] = field(default_factory=list)
    done: int = 0
    pauses: int = 0

    def ratio(self, latencies: Sequence[tuple[float, float]]) -> tuple[float, str]:
        """p95 while we worked to p95 just before, and both in words."""
        before, during = (
            _p95(value for at, value in latencies if any(begin <= at < end for begin, end in spans))
            for spans in (self.calm, self.working)
        )
        return during / before, f"{before:.2f} ms before, {during:.2f} ms while we worked"

    def said(self) -> str:
        seconds = sum(end - begin for begin, end in self.working)
        return f"{self.done} tables in {seconds:.0f} s, {self.pauses} pauses"


def _work_under_load(made: Needy, spans: _Spans, *, guarded: bool) -> None:
    """Two tables' work after ten calm seconds, in which the guard learns."""
    names = NEEDY[:2]
    made.need(names)
    time.sleep(3)
    actions = _actions(made, names)
    began = time.time()
    if not guarded:
        time.sleep(LEARN)
    window = _window(made, actions, guarded=guarded, minutes=1)
    first = min(effect.began.timestamp() for effect in window.effects if effect.began)
    spans.calm.append((began, first))
    spans.working.append((first, time.time()))
    spans.done += sum(effect.ended == "done" for effect in window.effects)
    spans.pauses += len(window.pauses)


@contextmanager
def _load(made: Needy, rows: int) -> Iterator[list[tuple[float, float]]]:
    """pgbench at a steady rate; afterwards, when each transaction ended and its latency in milliseconds."""
    latencies: list[tuple[float, float]] = []
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
            yield latencies
        finally:
            process.terminate()
            process.wait(10)
            latencies += _read(folder)


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


def _altering(made: Needy) -> list[float]:
    """Somebody changes the very tables that we vacuum, every two seconds: how long each change took."""
    stop, waits = threading.Event(), list[float]()

    def alter() -> None:
        with made.cluster.connect(DATABASE) as connection:
            while not stop.wait(2):
                for name in NEEDY:
                    began = time.monotonic()
                    connection.execute(f"ALTER TABLE {name} ALTER note SET STATISTICS 100")
                    waits.append(time.monotonic() - began)

    made.need()
    thread = threading.Thread(target=alter, daemon=True)
    thread.start()
    try:
        _window(made, _actions(made), minutes=0.75)
    finally:
        stop.set()
        thread.join(30)
    return waits


def _p95(values: Any) -> float:
    ordered = sorted(values)
    assert len(ordered) >= 100, f"only {len(ordered)} transactions: p95 would mean nothing"
    return ordered[int(0.95 * len(ordered))]


def _row(name: str, value: float, unit: str, goal: float, against: str) -> dict[str, Any]:
    return {
        "name": f"maintain database: {name}", "value": round(value, 3), "unit": unit, "goal": f"<= {goal:g}",
        "ok": value <= goal, "against": against,
    }  # fmt: skip


def _told(name: str, value: float, against: str) -> dict[str, Any]:
    """A figure without a goal."""
    return {**_row(name, value, "to 1", value, against), "goal": None}
