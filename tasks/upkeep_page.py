"""The quarter's review of a database as one page: growth, latency, statements, what runs out, what was done.

Safety property: statements are shown as pg_stat_statements normalises them, with literals masked; no value of a row is
on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from tasks.analysis.units import megabytes
from tasks.analysis.upkeep_statements import mean_times
from tasks.maintenance_models import DaysLeft, MaintenancePlan, MaintenanceVerdict, StatementChange, TableAge
from tasks.models import Change, Finding, Measurement
from tasks.pages import Page, Section, Series, Table, bar_chart, line_chart
from tasks.pages.charts import Chart
from tasks.pages.page import Mark
from tasks.upkeep_store import CALLS, DEAD, MILLISECONDS, SIZE, USED
from tasks.upkeep_text import VERDICTS, WORDS, change_of, days, open_first, per_day, seconds

MARKS: dict[str, Mark] = {
    "planned": "good", "measured": "good", "nothing_to_do": "good", "maintained": "good", "incomplete": "warning",
    "failed": "bad",
}  # fmt: skip
#: Changes so close to the time at which something shifted are told beside it.
NEAR = timedelta(days=3)
#: With fewer days a chart shows times.
FEW_DAYS, A_YEAR = 3, timedelta(days=365)
SHOWN_STATEMENTS, SHOWN_CHANGES = 8, 12
#: Questions and answers change nothing that a statement would notice.
NO_REASON = frozenset({"approval"})
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
    yield _running_out(plan.days_left, plan.oldest, changes)
    if verdict.effects:
        yield _done(verdict)
    elif plan.actions:
        yield _planned(plan)
    charts = tuple(_growth(history))
    if charts:
        yield Section(heading="Growth and latency", charts=charts)
    if plan.statements:
        yield _statements(plan, changes)


def _running_out(left: Sequence[DaysLeft], oldest: Sequence[TableAge], changes: Sequence[Change]) -> Section:
    rows = tuple((one.what, f"{one.used_percent:.1f} %", per_day(one), days(one)) for one in left)
    shifts = [(one, near(one, changes)) for one in left if one.shifted is not None]
    said = tuple(
        f"{one.what}: the burn has changed about {one.shifted:%Y-%m-%d}; "
        + (f"in the ledger around then: {'; '.join(told)}" if told else "the ledger knows of no change around then")
        for one, told in shifts
    )
    ages = Table(
        caption="The oldest tables, and in how many days each reaches the end",
        columns=("table", "transactions", "days left", "multixacts", "days left of these"),
        rows=tuple(_age(one) for one in oldest),
        numeric=("transactions", "days left", "multixacts", "days left of these"),
    )  # fmt: skip
    table = Table(
        caption="What will run out, and when", columns=("what", "used", "a day", "days left"), rows=rows,
        numeric=("used", "a day", "days left"),
    )  # fmt: skip
    return Section(heading="What runs out", paragraphs=said, tables=(table, ages) if oldest else (table,))


def _age(one: TableAge) -> tuple[str, str, str, str, str]:
    days = [("–" if left is None else f"{left:,.0f}") for left in (one.xid_days, one.mxid_days)]
    return one.table, f"{one.xids:,}", days[0], f"{one.mxids:,}", days[1]


def near(one: DaysLeft, changes: Sequence[Change]) -> list[str]:
    """The ledger's changes around the time at which a burn shifted."""
    if one.shifted is None:
        return []
    return [_named(change) for change in changes if abs(change.at - one.shifted) <= NEAR]


def _done(verdict: MaintenanceVerdict) -> Section:
    rows = tuple(
        (
            WORDS[effect.ended] + (f": {effect.why}" if effect.why else ""), effect.action.statement,
            "; ".join(effect.action.reasons), f"{effect.seconds:.2f}", change_of(effect),
        )
        for effect in open_first(verdict.effects)
    )  # fmt: skip
    table = Table(
        caption="Actions", columns=("how it ended", "statement", "why", "seconds", "before → after"), rows=rows,
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
    form = _form(history)
    named = (("database", SIZE), ("disk used", USED))
    sizes = [_series(name, form, history.get(figure, ()), 1e6) for name, figure in named]
    if any(one.points for one in sizes):
        yield line_chart("Growth", "MB", [one for one in sizes if one.points])
    if history.get(DEAD):
        yield line_chart("Dead rows", "rows", [_series("dead rows", form, history[DEAD])])
    means = mean_times(history.get(CALLS, ()), history.get(MILLISECONDS, ()))
    if means:
        mean = Series(name="mean", points=tuple({f"{at:{form}}": value for at, value in means}.items()))
        yield line_chart("Latency: mean of all statements since the look before", "ms", [mean])


def _form(history: History) -> str:
    """How a time is written below a chart, short enough for a phone, and never the same for two days."""
    days = sorted({one.at.date() for measured in history.values() for one in measured})
    if len(days) <= FEW_DAYS:
        return "%d, %H:%M"
    return "%d %b" if days[-1] - days[0] < A_YEAR else "%d.%m.%y"


def _series(name: str, form: str, measured: Sequence[Measurement], unit: float = 1.0) -> Series:
    """A figure over time; of several in one day, the last."""
    return Series(name=name, points=tuple({f"{one.at:{form}}": one.value / unit for one in measured}.items()))


def _statements(plan: MaintenancePlan, changes: Sequence[Change]) -> Section:
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
    return Section(heading="Statements", charts=(chart,), tables=(table,), paragraphs=tuple(_changed(plan, changes)))


def _changed(plan: MaintenancePlan, changes: Sequence[Change]) -> Iterator[str]:
    """What may explain why statements take another time: what the ledger knows of since they were compared."""
    since = [one for one in changes if plan.compared_at is not None and one.at > plan.compared_at]
    explaining = [one for one in since if one.kind not in NO_REASON]
    if explaining:
        more = f"; and {len(explaining) - SHOWN_CHANGES} more" if len(explaining) > SHOWN_CHANGES else ""
        yield f"In the ledger since then: {'; '.join(map(_named, explaining[:SHOWN_CHANGES]))}{more}"


def _named(change: Change) -> str:
    return f"{change.kind} of {change.subject} on {change.at:%Y-%m-%d} ({change.why})"


def _statement(one: StatementChange) -> tuple[str, str, str, str, str]:
    change = "new" if one.change_percent is None else f"{one.change_percent:+.0f} %"
    return one.text, f"{one.calls:,}", f"{one.total_ms / 1000:.2f}", f"{one.mean_ms:.3g}", change
