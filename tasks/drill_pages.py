"""Keeps a drill as one HTML file with charts of RTO, RPO and size over the drills before it.

Safety property: the file is written to a name of its own, in the bucket and in the state folder, and holds no login.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import task

from tasks.analysis import ladder
from tasks.backup_models import DrillVerdict, LevelResult
from tasks.drill_reports import TOLD, WORDS, History, figures, headline
from tasks.estate import Database
from tasks.models import Measurement
from tasks.pages import Chart, Page, Section, Series, Table, line_chart, render
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
    html = render(page_of(verdict, history))
    assert verdict.started is not None
    name = f"reports/verify-backups/{database.name}/{verdict.started.astimezone(UTC):%Y%m%dT%H%M%SZ}.html"
    site.bucket.put(name, html.encode(), "text/html; charset=utf-8")
    file = site.settings.state / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(html)
    return verdict.model_copy(update={"page": f"gs://{site.bucket.name}/{name}"})


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
    megabytes = 1e6
    return [
        _time("RTO: time to restore", "restored in", history[ladder.RTO]),
        _time("RPO: what would be lost", "age of the newest heartbeat", history[ladder.RPO]),
        line_chart(
            "Size", "MB",
            [
                _series("backup", history[ladder.SIZE], megabytes),
                _series("restored", history[ladder.RESTORED], megabytes),
            ],
        ),
        line_chart("Highest level passed", "level", [_series("level", history[ladder.LEVEL])], note="-1: none"),
    ]  # fmt: skip


def _time(title: str, name: str, measured: Sequence[Measurement]) -> Chart:
    """A chart of spans, in the unit in which a person would say the longest."""
    longest = max((item.value for item in measured), default=0.0)
    unit, size = next((unit, size) for unit, size in UNITS if longest >= 2 * size or size == 1)
    return line_chart(title, unit, [_series(name, measured, size)])


def _series(name: str, measured: Sequence[Measurement], unit: float = 1.0) -> Series:
    minutes = Counter(f"{item.at:%d %b %H:%M}" for item in measured)
    return Series(name=name, points=tuple((_label(item.at, minutes), item.value / unit) for item in measured))


def _label(at: datetime, minutes: Counter[str]) -> str:
    """When a drill was, told to the second where another one was in the same minute: a label is a point's place."""
    minute = f"{at:%d %b %H:%M}"
    return minute if minutes[minute] == 1 else f"{minute}:{at:%S}"


def _ladder(levels: tuple[LevelResult, ...]) -> Table:
    rows = tuple((f"{item.name} {item.title}", _verdict(item), item.why) for item in levels)
    return Table(caption="Levels", columns=("level", "verdict", "why"), rows=rows)


def _verdict(item: LevelResult) -> str:
    return f"{WORDS[item.verdict]} in {item.seconds:.1f} s" if item.seconds else WORDS[item.verdict]


def _level(item: LevelResult) -> Section:
    rows = tuple(("✓" if line.ok else "✗", line.what) for line in item.evidence)
    table = Table(caption="Evidence", columns=("", "what was seen"), rows=rows)
    return Section(heading=f"{item.name} {item.title}: {WORDS[item.verdict]}", tables=(table,))
