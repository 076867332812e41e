"""A week's requests by service and route, and whether they got worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from tasks.analysis.log_tally import OTHER_ROUTES, RequestCount, Tally
from tasks.log_models import Happened, Logger, Route, ServiceWeek
from tasks.models import Finding

SLOWEST_ROUTES = 10
#: A percentile of fewer requests is chance.
LEAST_REQUESTS = 50
#: Worse is: twice the rate of errors, and so much more than before; half as slow again, and by so many seconds.
ERRORS_RATIO, ERRORS_MORE = 2.0, 0.002
LATENCY_RATIO, LATENCY_MORE = 1.5, 0.050


def service_weeks(tally: Tally) -> tuple[ServiceWeek, ...]:
    """Each service's week."""
    names = sorted({service for service, _ in tally.requests})
    return tuple(_service_week(name, {day: c for (s, day), c in tally.requests.items() if s == name}) for name in names)


def _service_week(name: str, days: dict[int, RequestCount]) -> ServiceWeek:
    total = RequestCount()
    for count in days.values():
        total.merge(count)
    daily = [days.get(day, RequestCount()) for day in range(7)]
    p50, p95, p99 = (round(total.sketch.percentile(percent), 4) for percent in (50, 95, 99))
    return ServiceWeek(
        service=name, requests=total.requests, errors=total.errors, p50=p50, p95=p95, p99=p99,
        daily=tuple((day.requests, day.errors, round(day.sketch.percentile(95), 4)) for day in daily),
    )  # fmt: skip


def slowest_routes(tally: Tally) -> tuple[Route, ...]:
    """The routes of which one request in twenty takes longest; rare ones are left out."""
    often = [(key, count) for key, count in tally.routes.items() if count.requests >= LEAST_REQUESTS]
    routes = [_route(*key, count) for key, count in often if key[1] != OTHER_ROUTES]
    return tuple(sorted(routes, key=lambda route: (-route.p95, route.service, route.route))[:SLOWEST_ROUTES])


def _route(service: str, route: str, count: RequestCount) -> Route:
    p50, p95 = (round(count.sketch.percentile(percent), 4) for percent in (50, 95))
    return Route(service=service, route=route, requests=count.requests, errors=count.errors, p50=p50, p95=p95)


def happened(tally: Tally) -> tuple[Happened, ...]:
    """What the platform said of instances, the worst first."""
    order = ("out of memory", "restart", "cold start")
    found = [
        Happened.model_validate({"service": service, "what": what, "count": n, "first": first, "last": last})
        for (service, what), (n, first, last) in tally.platform.items()
    ]
    return tuple(sorted(found, key=lambda one: (order.index(one.what), one.service)))


def loggers(tally: Tally) -> tuple[Logger, ...]:
    """The logs by their size, the largest first."""
    found = [Logger(service=s, log=log, entries=n, size=size) for (s, log), (n, size) in tally.loggers.items()]
    return tuple(sorted(found, key=lambda one: (-one.size, one.service, one.log)))


def worse(now: Sequence[ServiceWeek], before: dict[str, tuple[ServiceWeek, ...]]) -> Iterator[Finding]:
    """What got worse, by service, against the median of the earlier weeks."""
    for week in now:
        earlier = [one for one in before.get(week.service, ()) if one.requests >= LEAST_REQUESTS]
        if week.requests < LEAST_REQUESTS or not earlier:
            continue
        rate, usual = week.error_rate, median(one.error_rate for one in earlier)
        if rate > max(ERRORS_RATIO * usual, usual + ERRORS_MORE):
            what = f"{rate:.2%} of {week.requests:,} requests failed; {usual:.2%} is usual"
            yield Finding(severity="error", subject=f"{week.service}: errors", what=what)
        slow, usual = week.p95, median(one.p95 for one in earlier)
        if slow > max(LATENCY_RATIO * usual, usual + LATENCY_MORE):
            what = f"one request in twenty took {slow * 1000:.0f} ms or longer; {usual * 1000:.0f} ms is usual"
            yield Finding(severity="warning", subject=f"{week.service}: latency", what=what)
