"""Keeps a drill as one HTML file with charts of RTO, RPO and size over the drills before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from prefect import task

from tasks.analysis import ladder
from tasks.backup_models import DrillVerdict, LevelResult
from tasks.drill_reports import TOLD, WORDS, History, figures, headline
from tasks.estate import Database
from tasks.kept_pages import keep
from tasks.models import Measurement
from tasks.pages import Chart, Page, Section, Series, Table, line_chart
from tasks.pages.page import Mark
from tasks.policies import READ, WRITE
from tasks.site import Site

#: How many drills a chart shows.
SHOWN = 60
#: Units of time, the largest first.
UNITS = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
MARKS: dict[str, Mark] = {"passed": "good", "incomplete": "warning", "planned": "warning", "failed": "bad"}


@task(**READ)
async def read_history(site: Site, database: Database) -> History:
    """What the last drills measured, this one included, oldest first."""
    return await asyncio.to_thread(_history, site, database)


def _history(site: Site, database: Database) -> History:
    subject = f"{site.estate.google.project}/{database.name}"
    return {name: site.ledger.measurements(name, subject, limit=SHOWN) for name in TOLD}


@task(**WRITE)
async def keep_page(site: Site, database: Database, verdict: DrillVerdict, history: History) -> DrillVerdict:
    """Write the page of a drill; the verdict with where it is. Safe to repeat: the same drill gives the same page."""
    return await asyncio.to_thread(_keep, site, database, verdict, history)


def _keep(site: Site, database: Database, verdict: DrillVerdict, history: History) -> DrillVerdict:
    assert verdict.started is not None
    name = f"reports/verify-backups/{database.name}/{verdict.started.astimezone(UTC):%Y%m%dT%H%M%SZ}.html"
    return verdict.model_copy(update={"page": keep(site, name, page_of(verdict, history))})


def page_of(verdict: DrillVerdict, history: History) -> Page:
    """The page of a drill and of those before it."""
    began = f"{verdict.started:%Y-%m-%d %H:%M} UTC" if verdict.started else ""
    return Page(
        title=f"Backups of {verdict.database}",
        verdict=headline(verdict),
        mark=MARKS[verdict.verdict],
        summary=tuple(filter(None, (verdict.why, *figures(verdict)))),
        sections=(
            Section(heading="The ladder", findings=verdict.findings, tables=(_ladder(verdict.levels),)),
            Section(heading="Over the drills", charts=tuple(_charts(history))),
            *(_level(item) for item in verdict.levels if item.evidence),
        ),
        foot=f"verify-backups, {began}",
    )


def _charts(history: History) -> list[Chart]:
    labels, megabytes = labels_of(item.at for measured in history.values() for item in measured), 1e6

    def series(name: str, figure: str, unit: float = 1.0) -> Series:
        points = tuple((labels[item.at], item.value / unit) for item in history[figure])
        return Series(name=name, points=points)

    def time(title: str, name: str, figure: str) -> Chart:
        unit, size = _unit(history[figure])
        return line_chart(title, unit, [series(name, figure, size)])

    sizes = [series("backup", ladder.SIZE, megabytes), series("restored", ladder.RESTORED, megabytes)]
    return [
        time("RTO: time to restore", "restored in", ladder.RTO),
        time("RPO: what would be lost", "age of the newest heartbeat", ladder.RPO),
        line_chart("Size", "MB", sizes),
        line_chart("Highest level passed", "level", [series("level", ladder.LEVEL)], note="-1: none"),
    ]


def _unit(measured: Sequence[Measurement]) -> tuple[str, float]:
    """The unit in which a person would say the longest of some spans, and its seconds."""
    longest = max((item.value for item in measured), default=0.0)
    return next((unit, size) for unit, size in UNITS if longest >= 2 * size or size == 1)


def labels_of(times: Iterable[datetime]) -> dict[datetime, str]:
    """A label for each drill, its own, since it is a point's place, and short: its day, more where a day has more."""
    ordered = sorted(set(times))
    if len({at.date() for at in ordered}) == 1:
        return {at: f"{at:%H:%M:%S}" for at in ordered}
    labels: dict[datetime, str] = {}
    for at in ordered:
        free = (f"{at:{form}}" for form in ("%d %b", "%d %b %H:%M", "%d %b %H:%M:%S"))
        labels[at] = next((label for label in free if label not in labels.values()), f"{at:%d %b %H:%M:%S.%f}")
    return labels


def _ladder(levels: tuple[LevelResult, ...]) -> Table:
    rows = tuple((f"{item.name} {item.title}", _verdict(item), item.why) for item in levels)
    return Table(caption="Levels", columns=("level", "verdict", "why"), rows=rows)


def _verdict(item: LevelResult) -> str:
    return f"{WORDS[item.verdict]} in {item.seconds:.1f} s" if item.seconds else WORDS[item.verdict]


def _level(item: LevelResult) -> Section:
    rows = tuple(("✓" if line.ok else "✗", line.what) for line in item.evidence)
    table = Table(caption="Evidence", columns=("", "what was seen"), rows=rows)
    return Section(heading=f"{item.name} {item.title}: {WORDS[item.verdict]}", tables=(table,))
