"""Each class of a pattern, at its edges; weeks of 167 and 169 hours among them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.latency_sketch import ERROR, Sketch
from tasks.analysis.log_trends import forecast, judge, next_history, onset, past_of
from tasks.log_models import History, PatternWeek, Week

ZONE = "Europe/Berlin"
WEEKS = [Week.named(f"2026-W{number}", ZONE) for number in (40, 41, 42, 43, 44)]


def seen(week: Week, hourly: dict[int, int], name: str = "aaaaaaaaaaaa", level: str = "error") -> PatternWeek:
    start, hours = week.start.timestamp(), sorted(hourly) or [0]
    return PatternWeek(
        id=name, service="api", level=level, kind="line", template=f"line {name}", count=sum(hourly.values()), size=10,
        first=start + 3600 * hours[0], last=start + 3600 * hours[-1] + 1800, hourly=hourly,
    )  # fmt: skip


def hourly(week: Week, count: int = 1, until: int = 200) -> dict[int, int]:
    return dict.fromkeys(range(min(week.hours, until)), count)


def history(*weeks: dict[int, int] | None, level: str = "error", cut: tuple[int, ...] = ()) -> History:
    """What reviews of weeks leave, in which one pattern was seen as told; None: not at all. ``cut``: not read whole."""
    made = None
    for number, (week, counts) in enumerate(zip(WEEKS, weeks, strict=False)):
        found = [] if counts is None else [seen(week, counts, level=level)]
        made = next_history(week, found, made, complete=number not in cut)
    assert made is not None
    return made


def verdict(now: dict[int, int] | None, before: History | None, level: str = "error", **more: object) -> list[str]:
    week = WEEKS[len(before.weeks)] if before else WEEKS[0]
    found = [] if now is None else [seen(week, now, level=level)]
    return [one.judgement for one in judge(week, found, before, more.pop("resolved", {}), **more)]  # type: ignore[arg-type]


def test_without_an_earlier_review_nothing_is_called_new() -> None:
    assert verdict({1: 5}, None) == ["first"]


def test_what_no_earlier_week_had_is_new() -> None:
    assert verdict({1: 1}, history(None)) == ["new"]


def test_what_was_away_for_two_reviewed_weeks_has_regressed_and_for_one_not() -> None:
    assert verdict({1: 1}, history({1: 1}, None, None)) == ["regressed"]
    assert verdict({1: 1}, history({1: 1}, None)) == ["steady"]


def test_what_was_marked_resolved_has_regressed_when_it_is_seen_after_that_and_only_then() -> None:
    before = history({1: 1}, {1: 1})
    week = WEEKS[2]
    assert verdict({1: 1}, before, resolved={"aaaaaa": week.start - timedelta(days=1)}) == ["regressed"]
    assert verdict({1: 1}, before, resolved={"aaaaaa": week.end}) == ["steady"]
    assert verdict({1: 1}, before, resolved={"bbbbbb": week.start}) == ["steady"]


def test_escalating_is_more_than_chance_and_more_than_the_weeks_own_spread() -> None:
    steady = history({1: 100}, {1: 104}, {1: 98})
    assert verdict({1: 150}, steady) == ["steady"]
    assert verdict({1: 160}, steady) == ["escalating"]
    unsteady = history({1: 100}, {1: 300}, {1: 100})
    assert verdict({1: 160}, unsteady) == ["steady"]
    rare = history({1: 1}, {1: 1})
    assert verdict({1: 15}, rare) == ["steady"]
    assert verdict({1: 40}, rare) == ["escalating"]


def test_after_one_week_alone_only_a_doubling_escalates() -> None:
    assert verdict({1: 190}, history({1: 100})) == ["steady"]
    assert verdict({1: 210}, history({1: 100})) == ["escalating"]


def test_a_level_that_has_become_usual_does_not_escalate_again() -> None:
    assert verdict({1: 400}, history({1: 100}, {1: 100}, {1: 400})) == ["steady"]


def test_a_heartbeat_that_stops_has_vanished_whether_in_the_week_or_before_it() -> None:
    before = history(*(hourly(week) for week in WEEKS[:3]), level="info")
    assert verdict(hourly(WEEKS[3], until=100), before, "info") == ["vanished"]
    assert verdict(None, before, "info") == ["vanished"]
    assert verdict(hourly(WEEKS[3]), before, "info") == ["steady"]


def test_a_daily_line_that_stops_has_vanished() -> None:
    daily = {24 * day: 1 for day in range(7)}
    before = history(daily, daily, level="info")
    assert verdict(daily, before, "info") == ["steady"]
    assert verdict({0: 1, 24: 1, 48: 1}, before, "info") == ["vanished"]


def test_an_irregular_line_and_an_error_that_stop_are_no_loss() -> None:
    assert verdict(None, history({1: 5}, {100: 5}, level="info"), "info") == []
    assert verdict(None, history(*(hourly(week) for week in WEEKS[:3]))) == []


def test_a_week_that_was_not_read_to_its_end_makes_nothing_vanish() -> None:
    before = history(*(hourly(week) for week in WEEKS[:3]), level="info")
    assert verdict(hourly(WEEKS[3], until=20), before, "info", complete=False) == ["steady"]
    assert verdict(None, before, "info", complete=False) == []


def test_a_clock_change_neither_escalates_nor_silences_a_heartbeat() -> None:
    autumn = Week.named("2026-W43", ZONE)
    assert autumn.hours == 169
    assert Week.named("2026-W13", ZONE).hours == 167
    before = history(*(hourly(week, 50) for week in WEEKS[:3]), level="info")
    assert verdict(hourly(autumn, 50), before, "info") == ["steady"]
    after = next_history(autumn, [seen(autumn, hourly(autumn, 50), level="info")], before)
    assert verdict(hourly(WEEKS[4], 50), after, "info") == ["steady"]


def test_the_days_of_a_week_with_a_clock_change_join_without_a_gap() -> None:
    week = Week.named("2026-W43", ZONE)
    lengths = [(end - start) / timedelta(hours=1) for start, end in week.days]
    assert lengths == [24, 24, 24, 24, 24, 24, 25]
    assert week.days[0][0] == week.start
    assert week.days[-1][1] == week.end
    assert all(one[1] == two[0] for one, two in zip(week.days, week.days[1:], strict=False))


@pytest.mark.parametrize(
    ("day", "name"), [((2026, 12, 31), "2026-W53"), ((2027, 1, 3), "2026-W53"), ((2027, 1, 4), "2027-W01")]
)
def test_a_week_is_named_as_iso_8601_names_it(day: tuple[int, int, int], name: str) -> None:
    week = Week.of(datetime(*day, tzinfo=UTC).date(), ZONE)
    assert week.name == name
    assert Week.named(name, ZONE) == week


def test_the_onset_is_the_hour_in_which_it_began_to_be_more() -> None:
    week = WEEKS[3]
    counts = {**dict.fromkeys(range(week.hours), 1), **dict.fromkeys(range(60, week.hours), 9)}
    assert onset(week, seen(week, counts), week.hours) == week.start.timestamp() + 60 * 3600


def test_a_second_review_of_a_week_leaves_the_same_history() -> None:
    before = history({1: 1}, {1: 2})
    once = next_history(WEEKS[2], [seen(WEEKS[2], {1: 3})], before)
    assert once == next_history(WEEKS[2], [seen(WEEKS[2], {1: 3})], before)


def test_the_forecast_of_nothing_is_nothing() -> None:
    assert forecast([]) == (0.0, 0.0)


def test_percentiles_of_a_sketch_are_right_to_two_per_cent() -> None:
    sketch = Sketch()
    values = [0.001 * 1.003**n for n in range(2000)]
    for value in values:
        sketch.add(value)
    for percent in (1, 50, 95, 99, 100):
        exact = values[max(0, -(-2000 * percent // 100) - 1)]
        assert abs(sketch.percentile(percent) - exact) <= ERROR * exact * 1.001
    assert Sketch().percentile(50) == 0.0


def test_a_line_of_every_midnight_is_daily_in_weeks_of_167_and_169_hours_too() -> None:
    for name in ("2026-W13", "2026-W20", "2026-W43"):
        week = Week.named(name, ZONE)
        midnights = {round((start - week.start).total_seconds() / 3600): 1 for start, _ in week.days}
        assert past_of(week, seen(week, midnights)).days == 7, name


def test_a_week_that_was_cut_makes_nothing_escalate_return_or_be_new() -> None:
    few, many = dict.fromkeys(range(50), 1), dict.fromkeys(range(150), 2)
    assert verdict(many, history(few, few)) == ["escalating"]
    assert verdict(many, history(few, few, cut=(0, 1))) == ["steady"]
    assert verdict(many, history(many, few, cut=(1,))) == ["steady"]
    assert verdict({1: 1}, history({1: 1}, None, None, cut=(2,))) == ["steady"]
    assert verdict({1: 1}, history({1: 1}, None, None, None, cut=(2,))) == ["regressed"]
    assert verdict({1: 1}, history(None, cut=(0,))) == ["first"]
    assert verdict({1: 1}, history(None, None, cut=(0,))) == ["new"]


def test_a_heartbeat_that_a_cut_week_lacks_has_vanished_only_where_whole_weeks_had_it() -> None:
    every = hourly(WEEKS[0])
    for cut in ((), (1,)):
        missed = None if cut else every
        assert verdict(None, history(every, missed, every, level="info", cut=cut), level="info") == ["vanished"]
    assert verdict(None, history(every, every, level="info", cut=(0,)), level="info") == []
    assert verdict(None, history(every, every, level="info"), level="info", complete=False) == []


def test_a_history_forgets_which_weeks_were_cut_with_the_weeks_themselves() -> None:
    kept = history({1: 1}, {1: 1}, {1: 1}, cut=(0, 2))
    assert (kept.cut, kept.whole_weeks) == ((WEEKS[0].name, WEEKS[2].name), (WEEKS[1].name,))
