"""The report tells a drill beside those before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.analysis import ladder
from tasks.backup_models import DrillVerdict, Evidence, LevelResult, Target
from tasks.drill_pages import labels_of
from tasks.drill_reports import bars, drill_report
from tasks.models import Measurement

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)


def measured(name: str, *values: float) -> list[Measurement]:
    return [
        Measurement(name=name, subject="p/d", value=value, unit="s", at=NOW + timedelta(days=number))
        for number, value in enumerate(values)
    ]


def verdict() -> DrillVerdict:
    level = LevelResult(level=4, verdict="failed", why="a | b", evidence=(Evidence(what="a | b", ok=False),))
    return DrillVerdict(verdict="failed", database="d", target=Target(pick="newest"), levels=(level,), why="a | b")


def test_the_trend_stands_beside_what_it_was_before() -> None:
    history = {ladder.LEVEL: measured(ladder.LEVEL, 7, 7, 3), ladder.RTO: measured(ladder.RTO, 10, 20, 90)}
    report = drill_report(verdict(), history)
    assert "| highest level | ██▄ | L7 | L3 |" in report
    assert "| RTO | ▂▃█ | 15.0 s | 90.0 s |" in report
    assert "| RPO |" not in report


def test_a_first_drill_has_nothing_before_it_and_a_drill_without_figures_no_trend() -> None:
    assert "| RTO | █ | – | 4.0 s |" in drill_report(verdict(), {ladder.RTO: measured(ladder.RTO, 4)})
    assert "Over the drills" not in drill_report(verdict(), {})


def test_bars_of_nothing_and_of_less_than_nothing_are_low() -> None:
    assert bars([-1, -1]) == "▁▁"
    assert bars([0, 0]) == "▁▁"


def test_what_was_seen_breaks_no_table() -> None:
    assert "✗ failed: a \\| b" in drill_report(verdict())


def test_every_drill_has_a_place_of_its_own_on_a_chart() -> None:
    nights = [NOW + timedelta(days=day) for day in range(3)]
    again = nights[1] + timedelta(hours=2)
    assert list(labels_of([*nights, again]).values()) == ["25 Nov", "26 Nov", "26 Nov 05:00", "27 Nov"]
    close = [NOW + timedelta(seconds=second) for second in range(3)]
    assert list(labels_of(close).values()) == ["03:00:00", "03:00:01", "03:00:02"]
    crowded = labels_of([*close, nights[1], nights[1] + timedelta(microseconds=5)])
    assert len(set(crowded.values())) == 5
