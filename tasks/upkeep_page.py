"""The quarter's review of a database as one page: growth, latency, statements, what runs out, what was done.

Safety property: statements are shown as pg_stat_statements normalises them, with literals masked; no value of a row is
on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from tasks.analysis.units import megabytes
from tasks.maintenance_models import DaysLeft, MaintenancePlan, MaintenanceVerdict, StatementChange
from tasks.models import Change, Finding, Measurement
from tasks.pages import Page, Section, Series, Table, bar_chart, line_chart
from tasks.pages.charts import Chart
from tasks.pages.page import Mark
from tasks.upkeep_store import DEAD, LATENCY, SIZE, USED
from tasks.upkeep_text import VERDICTS, WORDS, change_of, days, number, seconds

MARKS: dict[str, Mark] = {
    "planned": "good", "measured": "good", "nothing_to_do": "good", "maintained": "good", "incomplete": "warning",
    "failed": "bad",
}  # fmt: skip
#: Changes so close to the time at which something shifted are told beside it.
NEAR = timedelta(days=3)
SHOWN_STATEMENTS = 8
History = Mapping[str, Sequence[Measurement]]


def page_of(verdict: MaintenanceVerdict, history: History, changes: Sequence[Change]) -> Page:
    """The page of one care, with the figures over time and the changes that may explain a shift."""
    plan = verdict.plan
    return Page(
        title=f"Care of {verdict.database}",
        verdict=VERDICTS[verdict.verdict],
        mark=MARKS[verdict.verdict],
        summary=tuple(filter(None, (verdict.why, f"{plan.healthy} of {plan.tables} tables are healthy"))),
        sections=tuple(_sections(verdict, history, changes)),
        foot=f"maintain-database, {plan.at:%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def _sections(verdict: MaintenanceVerdict, history: History, changes: Sequence[Change]) -> Iterator[Section]:
    plan = verdict.plan
    found = [
        Finding(severity=one.severity, subject=one.subject, what=one.what, way_out=one.way_out) for one in plan.advice
    ]
    if found or plan.missing:
        yield Section(heading="For a person: what to tune, change or buy", findings=(*found, *plan.missing))
    yield _running_out(plan.days_left, changes)
    if verdict.effects:
        yield _done(verdict)
    elif plan.actions:
        yield _planned(plan)
    charts = tuple(_growth(history))
    if charts:
        yield Section(heading="Growth and latency", charts=charts)
    if plan.statements:
        yield _statements(plan)


def _running_out(left: Sequence[DaysLeft], changes: Sequence[Change]) -> Section:
    rows = tuple((one.what, f"{one.used_percent:.1f} %", number(one.per_day), days(one)) for one in left)
    shifts = [(one, near(one, changes)) for one in left if one.shifted is not None]
    said = tuple(
        f"{one.what}: the burn has changed about {one.shifted:%Y-%m-%d}; "
        + (f"in the ledger around then: {'; '.join(told)}" if told else "the ledger knows of no change around then")
        for one, told in shifts
    )
    table = Table(
        caption="What will run out, and when", columns=("what", "used", "a day", "days left"), rows=rows,
        numeric=("used", "a day", "days left"),
    )  # fmt: skip
    return Section(heading="What runs out", paragraphs=said, tables=(table,))


def near(one: DaysLeft, changes: Sequence[Change]) -> list[str]:
    """The ledger's changes around the time at which a burn shifted."""
    if one.shifted is None:
        return []
    return [
        f"{change.kind} of {change.subject} on {change.at:%Y-%m-%d} ({change.why})"
        for change in changes
        if abs(change.at - one.shifted) <= NEAR
    ]


def _done(verdict: MaintenanceVerdict) -> Section:
    rows = tuple(
        (
            effect.action.statement, "; ".join(effect.action.reasons),
            WORDS[effect.ended] + (f": {effect.why}" if effect.why else ""), f"{effect.seconds:.2f}", change_of(effect),
        )
        for effect in verdict.effects
    )  # fmt: skip
    table = Table(
        caption="Actions", columns=("statement", "why", "how it ended", "seconds", "before → after"), rows=rows,
        numeric=("seconds",),
    )  # fmt: skip
    pauses = tuple(
        f"{pause.at:%H:%M:%S} UTC, {pause.seconds:.0f} s: {pause.why}" for pause in verdict.pauses
    )
    return Section(heading="What was done", tables=(table,), paragraphs=pauses)


def _planned(plan: MaintenancePlan) -> Section:
    rows = tuple(
        (
            str(action.rank), action.statement, "; ".join(action.reasons), action.refused or action.gain, action.lock,
            seconds(action), megabytes(action.disk_bytes) if action.disk_bytes else "",
        )
        for action in plan.actions
    )  # fmt: skip
    columns = ("", "statement", "why", "gain", "lock", "about", "disk")
    return Section(heading="What would be done", tables=(Table(caption="Actions", columns=columns, rows=rows),))


def _growth(history: History) -> Iterator[Chart]:
    sizes = [_series("database", history.get(SIZE, ()), 1e6), _series("disk used", history.get(USED, ()), 1e6)]
    if any(one.points for one in sizes):
        yield line_chart("Growth", "MB", [one for one in sizes if one.points])
    if history.get(DEAD):
        yield line_chart("Dead rows", "rows", [_series("dead rows", history[DEAD])])
    if history.get(LATENCY):
        yield line_chart("Latency: mean of all statements", "ms", [_series("mean", history[LATENCY])])


def _series(name: str, measured: Sequence[Measurement], unit: float = 1.0) -> Series:
    return Series(name=name, points=tuple((f"{one.at:%d %b %y %H:%M}", one.value / unit) for one in measured))


def _statements(plan: MaintenancePlan) -> Section:
    top = plan.statements[:SHOWN_STATEMENTS]
    chart = bar_chart(
        "Time by statement", "s",
        [Series(name="total", points=tuple((f"#{place}", one.total_ms / 1000) for place, one in enumerate(top, 1)))],
        note="the numbers are those of the table",
    )  # fmt: skip
    rows = tuple((f"#{place}", *_statement(one)) for place, one in enumerate(plan.statements, 1))
    table = Table(
        caption=f"Statements that took the most time, {plan.statements_since}",
        columns=("", "statement", "calls", "total s", "mean ms", "change of the mean"), rows=rows,
        numeric=("calls", "total s", "mean ms", "change of the mean"),
    )  # fmt: skip
    return Section(heading="Statements", charts=(chart,), tables=(table,))


def _statement(one: StatementChange) -> tuple[str, str, str, str, str]:
    change = "new" if one.change_percent is None else f"{one.change_percent:+.0f} %"
    return one.text, f"{one.calls:,}", f"{one.total_ms / 1000:.2f}", f"{one.mean_ms:.3g}", change
