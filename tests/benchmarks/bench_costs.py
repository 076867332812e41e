"""The review of costs: its figures against a plain loop, its forecast on 200 years, its queries on 10 million lines."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil

from localcloud.bigquery.dialect import Kept, Name, translate
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.parameters import Parameter
from localcloud.bigquery.types import scalar_type
from tasks.clients.bigquery import BigQuery, Value, _parameter
from tasks.clients.billing_export import BillingExport, Scope
from tasks.clients.google import Google
from tasks.settings import Settings
from tests.benchmarks.forecasts import forecasts
from tests.conftest import LocalCloud
from tests.tasks.clients.conftest import Place

PROJECT, TABLE = "bench-costs", "gcp_billing_export_v1_BENCH"
ZONE = ZoneInfo("America/Los_Angeles")
SINCE, AS_OF = date(2025, 10, 1), datetime(2026, 11, 8, 12, tzinfo=UTC)
WEEK = date(2026, 10, 26)
DAY = timedelta(days=1)
#: A bill of 13 months has about 100,000 lines for each copy.
COPIES = 98
ROUNDS = 3
YEARS = 200
Question = tuple[str, dict[str, Value]]


def bench(state: Path) -> Iterator[dict[str, Any]]:
    """Measure, print as we go; the lines lie in the state folder meanwhile."""
    yield from _forecast()
    folder = state / "bench-costs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield from _in_cloud(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forecast() -> Iterator[dict[str, Any]]:
    made = forecasts(YEARS, 2)
    against = f"{YEARS} generated years, {len(made.errors)} forecasts from day 10 on"
    error, held = 100 * made.mean_error, 100 * made.coverage
    yield _row("costs: mean error of the month's end", error, "%", "<= 10", error <= 10, against)
    yield _row("costs: error told beside the forecast", 100 * made.told_error, "%", None, True, against)
    yield _row("costs: 80 % interval held", held, "%", "75 to 85", 75 <= held <= 85, against)
    every = forecasts(YEARS // 4, 2, first_day=1)
    against = f"{YEARS // 4} generated years, {len(every.errors)} forecasts from day 1 on"
    yield _row("costs: mean error from day 1 on", 100 * every.mean_error, "%", None, True, against)
    yield _row("costs: 80 % interval held from day 1 on", 100 * every.coverage, "%", None, True, against)


def _in_cloud(folder: Path) -> Iterator[dict[str, Any]]:
    cloud = LocalCloud(folder / "s")
    cloud.start()
    try:
        google = Google(Place(PROJECT), Settings(state=cloud.state))
        small = _export(cloud, google, f"{TABLE}_1", 1)
        yield from _to_the_cent(google, small)
        began = time.perf_counter()
        lines = _export(cloud, google, TABLE, COPIES).state(SINCE).lines
        yield _row("costs: making the lines", time.perf_counter() - began, "s", None, True, f"{lines} lines")
        asked = Recorder(google)
        flow = _best([_ask_all(BillingExport(asked, _scope(google, TABLE)), asked, cloud) for _ in range(ROUNDS)])
        peak = _memory(cloud)
    finally:
        cloud.stop()
    direct = _direct(cloud.state / "bigquery", asked.questions)
    against = f"{len(asked.questions)} queries over {lines} lines, best of {ROUNDS}"
    for what, goal, one, other in (("", "<= 1.1", flow.wall, direct.wall), (", CPU", None, flow.cpu, direct.cpu)):
        yield _row(f"costs: the review's queries{what}", one, "s", None, True, against)
        yield _row(f"costs: the same SQL in DuckDB{what}", other, "s", None, True, against)
        ok = goal is None or one / other <= 1.1
        yield _row(f"costs: one to the other{what}", one / other, "times", goal, ok, against)
    yield _row("costs: local cloud's memory at most", peak, "MB", None, True, against)


class Recorder(BigQuery):
    """The client, which remembers what it was asked."""

    def __init__(self, google: Google) -> None:
        super().__init__(google, 10**12)
        self.questions: list[Question] = []

    def query(self, sql: str, parameters: Any, what: str) -> Any:
        self.questions.append((sql, dict(parameters)))
        return super().query(sql, parameters, what)


def _export(cloud: LocalCloud, google: Google, table: str, copies: int) -> BillingExport:
    cloud.control.export_billing(
        PROJECT, "billing", table, str(SINCE), currency="EUR", seed=3, copies=copies, until=AS_OF.isoformat()
    )
    # Generating ten million lines takes longer than a call may: the first look at a table is a patient one.
    google.bigquery.query(f"SELECT COUNT(*) FROM `{PROJECT}.billing.{table}`").result(timeout=1800)
    return BillingExport(BigQuery(google, 10**12), _scope(google, table))


def _scope(google: Google, table: str) -> Scope:
    return Scope(f"{google.project}.billing.{table}", "EUR", ZONE, AS_OF)


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of processors: the second is the steadier one on a busy machine."""

    wall: float
    cpu: float


def _best(rounds: list[Spent]) -> Spent:
    return Spent(min(one.wall for one in rounds), min(one.cpu for one in rounds))


def _clocks(cloud: LocalCloud | None) -> tuple[float, float]:
    """By the clock, and of the processors of this process and of the local cloud's."""
    theirs = sum(psutil.Process(cloud.pid).cpu_times()[:2]) if cloud else 0.0
    return time.perf_counter(), time.process_time() + theirs


def _since(began: tuple[float, float], cloud: LocalCloud | None) -> Spent:
    wall, cpu = _clocks(cloud)
    return Spent(wall - began[0], cpu - began[1])


def _ask_all(export: BillingExport, asked: Recorder, cloud: LocalCloud) -> Spent:
    """The time of every question of the review."""
    asked.questions.clear()
    began = _clocks(cloud)
    export.state(SINCE)
    export.days(SINCE, WEEK + 13 * DAY)
    export.sku_days(WEEK - 98 * DAY, WEEK + 7 * DAY)
    export.invoices("202510")
    export.labels(("service",), WEEK, WEEK, WEEK + 7 * DAY)
    export.labels(("service",), WEEK - 7 * DAY, WEEK, WEEK)
    export.restated(WEEK - 7 * DAY, WEEK, AS_OF - 7 * DAY)
    return _since(began, cloud)


def _direct(folder: Path, questions: list[Question]) -> Spent:
    """The time of the same SQL in DuckDB, on the same file, with the same memory and threads."""
    engine = Engine(folder)
    with engine.cursor() as cursor:
        (inside,) = cursor.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'tables' ORDER BY estimated_size DESC LIMIT 1"
        ).fetchone()
        columns = [name for name, *_ in cursor.execute(f'DESCRIBE tables."{inside}"').fetchall()]
        sqls = [_translated(sql, values, Kept(inside, tuple(columns))) for sql, values in questions]
        spent = _best([_run(cursor, sqls) for _ in range(ROUNDS)])
    engine.close()
    return spent


def _translated(sql: str, values: dict[str, Value], kept: Kept) -> tuple[str, dict[str, Any]]:
    parameters = {name: _as_parameter(name, value) for name, value in values.items()}
    found = translate(sql, PROJECT, "", parameters, lambda name: _only(name, kept))
    return found.sql, found.values


def _only(name: Name, kept: Kept) -> Kept:
    assert name.table == TABLE
    return kept


def _as_parameter(name: str, value: Value) -> Parameter:
    if isinstance(value, tuple):
        return Parameter("VARCHAR[]", list(value))
    told = _parameter(name, value).to_api_repr()
    return Parameter(scalar_type(told["parameterType"]["type"]), told["parameterValue"]["value"])


def _run(cursor: Any, sqls: list[tuple[str, dict[str, Any]]]) -> Spent:
    began = _clocks(None)
    for sql, values in sqls:
        assert cursor.execute(sql, values).fetchall()
    return _since(began, None)


def _to_the_cent(google: Google, export: BillingExport) -> Iterator[dict[str, Any]]:
    """Every invoice of 13 months against a plain loop over the lines."""
    from tests.billing import Export

    lines = Export(google, f"{TABLE}_1", since=SINCE - 10 * DAY).lines
    expected: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in lines:
        expected[line.month, line.kind] += line.net
    told = {(line.month, line.cost_type): line.spend.net for line in export.invoices("202501")}
    off = max(abs(told.get(key, Decimal(0)) - expected.get(key, Decimal(0))) for key in {*told, *expected})
    against = f"{len({month for month, _ in expected})} months, {len(lines)} lines, a plain loop"
    yield _row("costs: an invoice is off by at most", float(off), "EUR", "< 0.005", off < Decimal("0.005"), against)


def _memory(cloud: LocalCloud) -> float:
    status = Path(f"/proc/{cloud.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _row(name: str, value: float, unit: str, goal: str | None, ok: bool, against: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": ok, "against": against}


