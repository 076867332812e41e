"""Judges the patterns of a week against the weeks before.

- **new**: in no earlier review.
- **regressed**: known, but gone in the last two reviewed weeks; or a person marked it resolved.
- **escalating**: more than its forecast. Forecast is the higher of last week's count and the median of up to eight
  weeks, for as many hours as this week has; the limit stands above it by the largest of four standard deviations of a
  Poisson count, three of the weeks' own spread, and half of the forecast, and at least at the highest of the weeks.
- **vanished**: a line that came every hour, or every day, in each of the last two to four weeks, and fell silent for
  more than three times its longest silence. An error that stops is no loss, so errors are not looked at.
- **steady**: anything else. Without an earlier review everything is **first**, and nothing is said of it.

Safety property: a week that was not read to its end makes nothing vanish, and is no measure for a later one: what it
lacks may have been there. It tells only which patterns are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median

from tasks.log_models import History, Judged, Judgement, Known, Past, PatternWeek, Week

GONE_WEEKS = 2
FORECAST_WEEKS = 8
KEPT_WEEKS = 12
#: A pattern that was not seen for so many reviews is forgotten: then it is new again.
FORGOTTEN_AFTER_WEEKS = 52
KEPT_PATTERNS = 20_000
LEAST_EXCESS = 20
REGULAR_WEEKS, LONGEST_REGULAR_WEEKS = 2, 4
#: The share of a week's hours in which an hourly line is seen.
HOURLY_SHARE = 0.9
LEAST_SILENCE_HOURS = 6
DAILY_GAP_HOURS = 30


def judge(
    week: Week,
    found: Sequence[PatternWeek],
    history: History | None,
    resolved: Mapping[str, datetime],
    *,
    complete: bool = True,
) -> tuple[Judged, ...]:
    """What is to be said of each pattern of a week, and of each that should have been there."""
    if history is None:
        return tuple(Judged(pattern=pattern, judgement="first", since=pattern.first) for pattern in found)
    known = {one.id: one for one in history.patterns}
    here = {pattern.id: pattern for pattern in found}
    judged = [_judged(week, pattern, known.get(pattern.id), history, resolved, complete) for pattern in found]
    missing = [one for one in history.patterns if complete and one.id not in here and _is_regular(one, history)]
    judged += [_missing(week, one, history) for one in missing]
    return tuple(sorted(judged, key=lambda one: one.pattern.id))


def _judged(
    week: Week,
    pattern: PatternWeek,
    known: Known | None,
    history: History,
    resolved: Mapping[str, datetime],
    complete: bool,
) -> Judged:
    if known is None and not history.whole_weeks:  # it may have been in what no review has read
        return Judged(pattern=pattern, judgement="first", since=pattern.first)
    if known is None:
        return Judged(pattern=pattern, judgement="new", since=pattern.first, why="in no earlier week")
    counts = weekly_counts(known, history, week.hours)
    expected, limit = forecast(counts)
    judgement: Judgement = "steady"
    since, why = 0.0, ""
    if (gone := _regressed(pattern, known, history, resolved)) != "":
        judgement, since, why = "regressed", pattern.first, gone
    elif counts and pattern.count > limit:
        judgement, since = "escalating", onset(week, pattern, expected)
        why = f"{pattern.count:,} instead of about {expected:,.0f}; at most {limit:,.0f} were to be expected"
    elif complete and _is_regular(known, history) and (silent := _silent_hours(week, pattern, known, history)):
        judgement, since, why = "vanished", pattern.last, f"silent for the last {silent:.0f} hours of the week"
    return Judged(
        pattern=pattern, judgement=judgement, past=tuple(round(count) for count in counts), expected=expected,
        limit=limit, since=since, why=why,
    )  # fmt: skip


def _missing(week: Week, known: Known, history: History) -> Judged:
    counts = weekly_counts(known, history, week.hours)
    pattern = PatternWeek(
        id=known.id, service=known.service, level=known.level, kind=known.kind, template=known.template, count=0,
        size=0, first=week.start.timestamp(), last=week.start.timestamp(), hourly={},
    )  # fmt: skip
    return Judged(
        pattern=pattern, judgement="vanished", past=tuple(round(count) for count in counts),
        expected=forecast(counts)[0], since=week.start.timestamp(), why="not one line in this week",
    )  # fmt: skip


def weekly_counts(known: Known, history: History, hours: int) -> list[float]:
    """The counts of the whole weeks since a pattern was first seen, oldest first, for weeks of so many hours."""
    seen = {past.week: past.count * hours / past.span for past in known.weeks}
    return [seen.get(name, 0.0) for name in history.whole_weeks if name >= known.first_week]


def forecast(counts: Sequence[float]) -> tuple[float, float]:
    """What is expected, and what is still no surprise; see the head of this module."""
    newest = list(counts[-FORECAST_WEEKS:])
    if not newest:
        return 0.0, 0.0
    middle = median(newest)
    expected = max(middle, newest[-1])
    spread = 1.4826 * median(abs(count - middle) for count in newest)
    share = 0.5 if len(newest) > 1 else 1.0
    above = max(4 * expected**0.5, 3 * spread, share * expected, LEAST_EXCESS)
    return expected, max(expected + above, *newest)


def onset(week: Week, pattern: PatternWeek, expected: float) -> float:
    """When a pattern began to be more: where the sum of what is above the middle of then and now is lowest (CUSUM)."""
    usual = (expected + pattern.count) / 2 / week.hours
    lowest, total, begun = 0.0, 0.0, 0
    for hour in range(week.hours):
        total += pattern.hourly.get(hour, 0) - usual
        if total < lowest:
            lowest, begun = total, hour + 1
    return week.start.timestamp() + 3600 * begun


def _regressed(pattern: PatternWeek, known: Known, history: History, resolved: Mapping[str, datetime]) -> str:
    """Why a pattern is back; empty where it was never away."""
    marked = next((at for name, at in resolved.items() if pattern.id.startswith(name)), None)
    if marked is not None and pattern.last >= marked.timestamp():
        return f"was marked resolved on {marked:%-d %B %Y}"
    last = known.weeks[-1].week if known.weeks else known.first_week
    away = [name for name in history.whole_weeks if name > last]
    return f"was last seen in {last}" if len(away) >= GONE_WEEKS else ""


def _is_regular(known: Known, history: History) -> bool:
    """Whether a line was there every hour, or every day, in each of the last whole weeks."""
    names = history.whole_weeks[-LONGEST_REGULAR_WEEKS:]
    recent = [past for past in known.weeks if past.week in names]
    since_first = [name for name in names if name >= known.first_week]
    if known.level == "error" or len(recent) < REGULAR_WEEKS or len(recent) < len(since_first):
        return False
    return all(past.hours >= HOURLY_SHARE * past.span for past in recent) or all(
        past.days == 7 and past.gap_hours <= DAILY_GAP_HOURS for past in recent
    )


def _silent_hours(week: Week, pattern: PatternWeek, known: Known, history: History) -> float:
    """For how long a line was silent at the end of the week, where that is too long for it; else 0."""
    silent = (week.end.timestamp() - pattern.last) / 3600
    whole = [past for past in known.weeks if past.week not in history.cut]
    usual = max(past.gap_hours for past in whole[-LONGEST_REGULAR_WEEKS:])
    return silent if silent > max(LEAST_SILENCE_HOURS, 3 * (usual + 1)) else 0.0


# --- what is kept for the next review --------------------------------------------------------------------------------


def next_history(
    week: Week, found: Iterable[PatternWeek], before: History | None, *, complete: bool = True
) -> History:
    """What the next review is to know: the earlier history and this week. The services are added by their own."""
    cut = (*(before.cut if before else ()), *(() if complete else (week.name,)))
    known = {one.id: one for one in before.patterns} if before else {}
    weeks = (*(before.weeks if before else ()), week.name)[-FORGOTTEN_AFTER_WEEKS:]
    for pattern in found:
        earlier = known.get(pattern.id)
        pasts = (*(earlier.weeks if earlier else ()), past_of(week, pattern))[-KEPT_WEEKS:]
        known[pattern.id] = Known(
            id=pattern.id, service=pattern.service, level=pattern.level, kind=pattern.kind, template=pattern.template,
            first_week=earlier.first_week if earlier else week.name, weeks=pasts,
        )  # fmt: skip
    alive = [one for one in known.values() if one.weeks[-1].week in weeks]
    kept = sorted(alive, key=lambda one: (one.weeks[-1].week, one.weeks[-1].count, one.id))[-KEPT_PATTERNS:]
    return History(
        week=week.name, weeks=weeks, patterns=tuple(sorted(kept, key=lambda one: one.id)),
        cut=tuple(name for name in cut if name in weeks),
    )  # fmt: skip


def past_of(week: Week, pattern: PatternWeek) -> Past:
    """A pattern's week as it is kept."""
    hours = sorted(pattern.hourly)
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(hours)]
    return Past(
        week=week.name, count=pattern.count, size=pattern.size, hours=len(hours),
        days=len({week.day_of(hour) for hour in hours}), gap_hours=max(gaps, default=0), span=week.hours,
    )  # fmt: skip
