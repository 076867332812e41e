"""Charts of a report, drawn by matplotlib into inline SVG.

Safety property: the same values give the same bytes on every machine (fixed salt for the ids, no date, the font that
matplotlib brings), and text from outside is text: it is escaped and never read as a formula.

Lines and bars stand over labels, in the order in which these first appear: days, weeks, services. A value that is not
known is None, and a gap. A chart bears its figures too, since a picture alone tells a screen reader nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tasks.models import Frozen
from tasks.pages.canvas import GRID, INK, MOST_SERIES, colour, drawn

#: So many labels stand below a chart on a phone without touching each other.
MOST_TICKS = 6


class Series(Frozen):
    """One line, or the bars of one colour: its name, and label and value of each point."""

    name: str
    points: tuple[tuple[str, float | None], ...]

    def at(self, label: str) -> float | None:
        """The value at a label; None where there is none."""
        return dict(self.points).get(label)


class Band(Frozen):
    """A range around what is drawn: its name, and label, low and high of each point."""

    name: str
    points: tuple[tuple[str, float, float], ...]


class Key(Frozen):
    """One line of the legend. ``place`` is the number of the colour, from 0."""

    name: str
    place: int
    kind: Literal["line", "band"] = "line"


class Chart(Frozen):
    """A drawn chart, its legend and its figures. ``svg`` is ours and safe to put into a page as it is."""

    title: str
    unit: str
    svg: str
    legend: tuple[Key, ...] = ()
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def line_chart(title: str, unit: str, series: Sequence[Series], bands: Sequence[Band] = (), note: str = "") -> Chart:
    """Draw lines over labels, each band behind them. Raises ValueError for more lines than there are colours."""
    labels = _labels(series, bands)

    def draw(axes: Any) -> None:
        for place, band in enumerate(bands):
            low, high = ({label: edges[i] for label, *edges in band.points} for i in (0, 1))
            inside = [i for i, label in enumerate(labels) if label in low]
            axes.fill_between(
                inside, [low[labels[i]] for i in inside], [high[labels[i]] for i in inside],
                color=colour(place), alpha=0.2, linewidth=0,
            )  # fmt: skip
        for place, line in enumerate(series):
            values = [_number(line.at(label)) for label in labels]
            marker = "o" if _is_sparse(values) else ""
            axes.plot(range(len(labels)), values, color=colour(place), linewidth=1.8, marker=marker, markersize=4)
        _tick(axes, labels)

    return _chart(title, unit, series, bands, labels, draw, note)


def bar_chart(title: str, unit: str, series: Sequence[Series], *, stacked: bool = False, note: str = "") -> Chart:
    """Draw bars over labels, side by side or ``stacked``. Raises ValueError for more series than there are colours."""
    labels = _labels(series, ())

    def draw(axes: Any) -> None:
        width = 0.8 if stacked else 0.8 / max(1, len(series))
        up, down = [0.0] * len(labels), [0.0] * len(labels)
        for place, bars in enumerate(series):
            values = [bars.at(label) or 0.0 for label in labels]
            at = [i if stacked else i - 0.4 + width * (place + 0.5) for i in range(len(labels))]
            foot = [up[i] if value >= 0 else down[i] for i, value in enumerate(values)] if stacked else 0.0
            axes.bar(at, values, width=width * 0.94, bottom=foot, color=colour(place), linewidth=0)
            up = [top + max(0.0, value) for top, value in zip(up, values, strict=True)]
            down = [top + min(0.0, value) for top, value in zip(down, values, strict=True)]
        _tick(axes, labels)

    return _chart(title, unit, series, (), labels, draw, note)


def _chart(
    title: str,
    unit: str,
    series: Sequence[Series],
    bands: Sequence[Band],
    labels: Sequence[str],
    draw: Callable[[Any], None],
    note: str,
) -> Chart:
    if len(series) > MOST_SERIES:
        raise ValueError(f"{title}: {len(series)} series are more than a reader can tell apart; sum the smallest up")
    keys = [Key(name=line.name, place=place) for place, line in enumerate(series)]
    keys += [Key(name=band.name, place=place, kind="band") for place, band in enumerate(bands)]
    columns, rows = _figures(series, bands, labels)
    return Chart(
        title=title, unit=unit, svg=drawn(draw, label=f"{title}, {unit}"),
        legend=tuple(keys) if len(keys) > 1 else (), columns=columns, rows=rows, note=note,
    )  # fmt: skip


def _figures(
    series: Sequence[Series], bands: Sequence[Band], labels: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    ranges = [{label: f"{_text(low)} to {_text(high)}" for label, low, high in band.points} for band in bands]
    rows = tuple(
        (label, *(_text(line.at(label)) for line in series), *(inside.get(label, "–") for inside in ranges))
        for label in labels
    )
    return ("", *(line.name for line in series), *(band.name for band in bands)), rows


def _labels(series: Sequence[Series], bands: Sequence[Band]) -> list[str]:
    """Every label once: a band reaches past the line where it is a forecast."""
    labels = [label for line in series for label, _ in line.points]
    labels += [label for band in bands for label, _, _ in band.points]
    return list(dict.fromkeys(labels))


def _tick(axes: Any, labels: Sequence[str]) -> None:
    step = max(1, -(-len(labels) // MOST_TICKS))
    places = range(0, len(labels), step)
    axes.set_xticks(list(places), [_short(labels[place]) for place in places])
    axes.margins(x=0.02)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), max(0.0, high) or 1.0)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", pad=7)


def _short(label: str) -> str:
    return label if len(label) <= 12 else f"{label[:11]}…"


def _is_sparse(values: Sequence[float]) -> bool:
    """Whether single points would be lost without a marker: few of them, or gaps around them."""
    known = [not math.isnan(value) for value in values]
    return len(values) <= 12 or any(
        here and not any(known[max(0, i - 1) : i] + known[i + 1 : i + 2]) for i, here in enumerate(known)
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.4g}"
