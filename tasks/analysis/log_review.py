"""Makes a week's review of its tally, and what the next review is to know."""

from __future__ import annotations

from datetime import datetime

from tasks.analysis import log_trends, service_trends
from tasks.analysis.log_patterns import patterns
from tasks.analysis.log_tally import Tally
from tasks.log_models import Coverage, History, LogReview, ServiceWeek, Week
from tasks.review_models import Marks

#: Services and coverage are compared with so many weeks.
WEEKS_COMPARED = 8


def review(
    week: Week, tally: Tally, coverage: Coverage, before: History | None, marks: Marks, asked: datetime
) -> tuple[LogReview, History]:
    """Judge a week. The same tally, history, marks and moment give the same review."""
    found = patterns(tally.lines, before.patterns if before else ())
    resolved = {one.pattern: one.at for one in marks.resolved}
    judged = log_trends.judge(week, found, before, resolved, complete=coverage.complete)
    services = service_trends.service_weeks(tally)
    made = LogReview(
        week=week,
        coverage=coverage,
        judged=tuple(
            one.model_copy(update={"muted": marks.muted(one.pattern.id, asked.date())}) for one in judged
        ),
        services=services,
        before=before.services if before else {},
        routes=service_trends.slowest_routes(tally),
        happened=service_trends.happened(tally),
        loggers=service_trends.loggers(tally),
        read_before=before.read if before else (),
    )
    kept = log_trends.next_history(week, found, before, complete=coverage.complete)
    read = (*(before.read if before else ()), *((coverage.read,) if coverage.complete else ()))[-WEEKS_COMPARED:]
    return made, kept.model_copy(update={"services": _services(services, before), "read": read})


def _services(now: tuple[ServiceWeek, ...], before: History | None) -> dict[str, tuple[ServiceWeek, ...]]:
    """The newest weeks of each service."""
    kept = dict(before.services) if before else {}
    for one in now:
        kept[one.service] = (*kept.get(one.service, ()), one)[-WEEKS_COMPARED:]
    return dict(sorted(kept.items()))
