"""Keeps a drill as one HTML file with charts of RTO, RPO and size over the drills before it.

Safety property: the file is written to a name of its own, in the bucket and in the state folder, and holds no login.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

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
        line_chart("RTO: time to restore", "s", [_series("restored in", history[ladder.RTO])]),
        line_chart("RPO: what would be lost", "h", [_series("age of the newest heartbeat", history[ladder.RPO], 3600)]),
        line_chart(
            "Size", "MB",
            [
                _series("backup", history[ladder.SIZE], megabytes),
                _series("restored", history[ladder.RESTORED], megabytes),
            ],
        ),
        line_chart("Highest level passed", "level", [_series("level", history[ladder.LEVEL])], note="-1: none"),
    ]  # fmt: skip


def _series(name: str, measured: Sequence[Measurement], unit: float = 1.0) -> Series:
    return Series(name=name, points=tuple((f"{item.at:%d %b %H:%M}", item.value / unit) for item in measured))


def _ladder(levels: tuple[LevelResult, ...]) -> Table:
    rows = tuple((item.name, item.title, WORDS[item.verdict], item.why, _spent(item)) for item in levels)
    columns = ("level", "what", "verdict", "why", "seconds")
    return Table(caption="Levels", columns=columns, rows=rows, numeric=("seconds",))


def _spent(item: LevelResult) -> str:
    return f"{item.seconds:.1f}" if item.seconds else ""


def _level(item: LevelResult) -> Section:
    rows = tuple(("✓" if line.ok else "✗", line.what) for line in item.evidence)
    table = Table(caption="Evidence", columns=("", "what was seen"), rows=rows)
    return Section(heading=f"{item.name} {item.title}: {WORDS[item.verdict]}", tables=(table,))
