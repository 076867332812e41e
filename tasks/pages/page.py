"""One self-contained HTML file from plain values: a verdict, a summary, sections with findings, tables and charts.

Safety property: every text is escaped, and the page's own Content-Security-Policy forbids scripts and every request, so
that a log line that holds markup stays a log line.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.models import Finding, Frozen
from tasks.pages.charts import Chart
from tasks.pages.sparkline import Sparkline

if TYPE_CHECKING:
    from jinja2 import Template

Cell = str | Sparkline
Mark = Literal["good", "warning", "bad"]


class Table(Frozen):
    """A table. ``numeric`` are the columns, by name, whose cells are numbers and stand to the right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[str, ...] = ()
    note: str = ""


class Section(Frozen):
    """A heading and what stands below it, in this order: paragraphs, findings, charts, tables.

    ``quotes`` are shown letter by letter, in the width that they need: log lines, statements.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    quotes: tuple[str, ...] = ()


class Page(Frozen):
    """A page: what a person reads first comes first."""

    title: str
    verdict: str
    mark: Mark = "good"
    summary: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    foot: str = Field("", description="Where the page comes from; no time of its making, so that bytes repeat")


def render(page: Page) -> str:
    """The page as one HTML file. The same page gives the same bytes."""
    return _template().render(page=page, marks={"info": "ℹ", "warning": "⚠", "error": "✗"})


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tasks.pages", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2")
