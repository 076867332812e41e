"""The report and the page of a database's care: what a tired person looks for stands first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tasks.maintenance_models import DaysLeft, Effect, Ended, WindowState
from tasks.models import Measurement
from tasks.pages import render
from tasks.upkeep_page import page_of
from tasks.upkeep_record import concluded
from tasks.upkeep_store import SIZE
from tasks.upkeep_text import MOST, per_day, verdict_report
from tests.tasks.analysis.test_upkeep_indexes import index
from tests.tasks.analysis.test_upkeep_plan import NOW, facts, made

ENDS: tuple[Ended, ...] = ("done", "skipped", "postponed", "failed")


def test_what_failed_and_what_is_not_done_is_told_first_however_much_was_done() -> None:
    plan = made()
    effects = [Effect(action=plan.actions[0], ended="done")] * MOST
    effects += [Effect(action=action, ended=ended) for action, ended in zip(plan.actions, ENDS, strict=False)]
    window = WindowState(database="app", began=NOW, until=NOW)
    verdict = concluded(plan, window, tuple(effects), (), ())
    for shown in (verdict_report(verdict), render(page_of(verdict, {}, []))):
        failed, later = (shown.rindex(words) for words in ("✗ failed", "‖ not in this window"))
        assert failed < later < shown.rindex("✓ done")


def test_the_severest_advice_stands_first() -> None:
    left = DaysLeft(what="disk", used=9, limit=10, per_day=0.1, days=10)
    doubles = tuple(index(name) for name in ("public.a", "public.b"))
    said = [one.severity for one in made(facts(indexes=doubles), days_left=[left]).advice]
    assert {"error", "info"} <= set(said)
    assert said == sorted(said, key=["error", "warning", "info"].index)


def test_what_the_disk_takes_a_day_is_told_in_megabytes_and_ids_as_a_number() -> None:
    told = [per_day(DaysLeft(what=what, used=1, limit=2, per_day=9e7)) for what in ("disk", "multixacts")]
    assert told == ["90.0 MB", "90,000,000"]


@pytest.mark.parametrize(
    ("hours", "first"), [([0, 6, 30], ["25, 04:40", "25, 10:40"]), (range(0, 24 * 9, 12), ["25 Nov", "26 Nov"]),
                         (range(0, 24 * 800, 24 * 7), ["25.11.26", "02.12.26"])],
)  # fmt: skip
def test_a_charts_times_are_short_enough_for_a_phone_and_none_hides_another(
    hours: Sequence[int], first: list[str]
) -> None:
    """With year and time of day they ran into one another. Of several looks on a day the last is drawn."""
    verdict = concluded(made(), WindowState(database="app", began=NOW, until=NOW), (), (), ())
    now = datetime(2026, 11, 25, 4, 40, tzinfo=UTC)
    sizes = [
        Measurement(name=SIZE, subject="x", value=1e9 * hour, unit="bytes", at=now + timedelta(hours=hour))
        for hour in hours
    ]
    (chart,) = next(section for section in page_of(verdict, {SIZE: sizes}, []).sections if section.charts).charts
    days = {one.at.date() for one in sizes}
    assert [row[0] for row in chart.rows][:2] == first
    assert len(chart.rows) == (len(days) if len(days) > 3 else len(sizes))
