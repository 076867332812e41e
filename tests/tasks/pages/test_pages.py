"""Pages: the same bytes each time, text stays text, nothing is asked of anybody."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tasks.models import Finding
from tasks.pages import Band, Chart, Page, Section, Series, Sparkline, Table, bar_chart, line_chart, render

NASTY = 'a </svg><script>alert(1)</script> $x_1$ & "quoted" --> end'
DAYS = tuple(f"{day} Nov" for day in range(2, 16))


def _line(name: str = "api") -> Chart:
    series = [
        Series(name=name, points=tuple((day, float(i % 4)) for i, day in enumerate(DAYS))),
        Series(name="frontend", points=tuple((day, None if i == 7 else i * 0.1) for i, day in enumerate(DAYS))),
    ]
    band = Band(name="80 % interval", points=(("15 Nov", 0.5, 1.5), ("16 Nov", 0.4, 1.9)))
    return line_chart("Errors", "% of requests", series, bands=[band])


def _bars(stacked: bool) -> Chart:
    series = [
        Series(name="Cloud Run", points=(("week 46", 1200.5), ("week 47", 900.0))),
        Series(name="credits", points=(("week 46", -100.0), ("week 47", -90.0))),
    ]
    return bar_chart("Costs", "EUR", series, stacked=stacked)


def _page(text: str = "text") -> Page:
    finding = Finding(severity="error", subject=text, what=text, way_out=text)
    table = Table(caption=text, columns=(text, "n"), rows=((text, "1"), (text, Sparkline(values=(1, 0, 3)))))
    section = Section(
        heading=text, paragraphs=(text,), findings=(finding,), charts=(_line(text), _bars(True), _bars(False)),
        tables=(table,), quotes=(text,),
    )  # fmt: skip
    return Page(title=text, verdict=text, summary=(text,), sections=(section,), foot=text)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def _elements(html: str) -> _Elements:
    found = _Elements()
    found.feed(html)
    return found


def test_the_same_page_gives_the_same_bytes_in_threads_and_in_another_process() -> None:
    expected = hashlib.sha256(render(_page()).encode()).hexdigest()
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: render(_page()), range(8)))
    assert {hashlib.sha256(page.encode()).hexdigest() for page in pages} == {expected}
    code = (
        "import hashlib; from tests.tasks.pages.test_pages import _page, render; "
        "print(hashlib.sha256(render(_page()).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == expected


def test_text_from_outside_stays_text_in_every_place_of_the_page() -> None:
    found = _elements(render(_page(NASTY)))
    assert "script" not in found.tags
    assert {name for name, _ in found.attributes if name.startswith("on")} == set()
    assert found.tags.count("svg") == 4


def test_a_page_asks_nobody_for_anything() -> None:
    html = render(_page())
    assert "default-src 'none'" in html
    found = _elements(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(found.tags)
    references = {value for name, value in found.attributes if name in ("src", "href", "xlink:href", "action")}
    assert all(value and value.startswith("#") for value in references)
    assert re.findall(r"@import|url\((?!#)", html) == []


@pytest.mark.parametrize("chart", [_line(NASTY), _bars(True), _bars(False)], ids=["line", "stacked", "beside"])
def test_a_chart_is_well_formed_and_named_and_bears_its_figures(chart: Chart) -> None:
    root = ElementTree.fromstring(chart.svg)
    assert root.get("role") == "img"
    assert chart.title in str(root.get("aria-label"))
    assert chart.rows[0][0] in ("2 Nov", "week 46")
    assert all(len(row) == len(chart.columns) for row in chart.rows)
    assert "#010203" not in chart.svg
    assert "#040506" not in chart.svg


def test_no_id_stands_twice_in_a_page_of_several_charts() -> None:
    ids = [value for name, value in _elements(render(_page())).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_value_that_is_not_known_is_a_gap_and_not_a_zero() -> None:
    assert _line().rows[7] == ("9 Nov", "3", "–", "–")


def test_a_chart_of_nothing_is_a_chart() -> None:
    assert "<svg" in line_chart("Nothing", "1", []).svg
    assert "<svg" in bar_chart("Nothing", "1", [Series(name="a", points=())]).svg


def test_more_series_than_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="9 series"):
        line_chart("Many", "1", [Series(name=str(i), points=(("a", 1.0),)) for i in range(9)])
