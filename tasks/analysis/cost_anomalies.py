"""Finds the days of a SKU that cost other than they should, with the money between the two.

What a day should cost is the SKU's level (the median of the four weeks before, each day divided by its weekday's
factor) times the weekday's factor, or what the same day of the month before cost: a charge on each first is no
surprise. A deviation counts when it stands out three ways: from the SKU's own noise (``SIGMAS`` robust deviations,
from the median absolute deviation of the logarithms), by the estate's least per cent, and its sum over the week by the
estate's least money. Per cent alone makes noise of cents; money alone hides what doubles.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from statistics import median

from tasks.cost_models import ZERO, CostAnomaly, SkuDay

DAY = timedelta(days=1)
HISTORY = 56
LEVEL_DAYS = 28
#: A SKU with less history than this has no level yet: it is new.
LEAST_DAYS = 14
SIGMAS = 4.0
#: Scales a median absolute deviation to the standard deviation of a normal distribution.
MAD_TO_SIGMA = 1.4826
LEAST_SIGMA = 0.02
#: A day that is like the one a month before, within this factor, is a charge that comes every month.
LIKE_LAST_MONTH = 1.25
CENT = Decimal("0.01")
Series = Mapping[date, float]


def anomalies(
    lines: Iterable[SkuDay], days: Sequence[date], least_impact: Decimal, least_percent: Decimal
) -> tuple[CostAnomaly, ...]:
    """What stands out on these days, the most money first. ``lines`` reach ``HISTORY`` days back, and some more."""
    series: dict[tuple[str, str], dict[date, Decimal]] = defaultdict(dict)
    for line in lines:
        series[line.service, line.sku][line.day] = line.spend.net
    found = [
        anomaly
        for (service, sku), costs in sorted(series.items())
        for anomaly in _of_sku(service, sku, costs, days, float(least_percent) / 100)
        if abs(anomaly.impact) >= least_impact
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.impact), one.service, one.sku)))


def _of_sku(
    service: str, sku: str, costs: Mapping[date, Decimal], days: Sequence[date], least: float
) -> list[CostAnomaly]:
    if not days:
        return []
    history = {day: float(cost) for day, cost in costs.items() if days[0] - HISTORY * DAY <= day < days[0]}
    if len(history) < LEAST_DAYS:
        return _without_level(service, sku, costs, days)
    expected = _expectations(history, days)
    noise = max(LEAST_SIGMA, _noise(history))
    high: list[date] = []
    low: list[date] = []
    for day in days:
        ratio = _ratio(float(costs.get(day, ZERO)), expected[day])
        if abs(ratio) > max(SIGMAS * noise, math.log1p(least)) and not _like_last_month(costs, day):
            (high if ratio > 0 else low).append(day)
    told = [("spike", high), ("drop", low)]
    return [_anomaly(service, sku, kind, found, costs, expected) for kind, found in told if found]


def _without_level(
    service: str, sku: str, costs: Mapping[date, Decimal], days: Sequence[date]
) -> list[CostAnomaly]:
    """A SKU without a level: new, unless what it costs came a month before too."""
    unexpected = [day for day in days if costs.get(day, ZERO) and not _like_last_month(costs, day)]
    if not unexpected:
        return []
    return [_anomaly(service, sku, "new", unexpected, costs, dict.fromkeys(unexpected, 0.0))]


def _anomaly(
    service: str, sku: str, kind: str, days: Sequence[date], costs: Mapping[date, Decimal], expected: Series
) -> CostAnomaly:
    should = sum((Decimal(repr(expected[day])) for day in days), ZERO).quantize(CENT)
    actual = sum((costs.get(day, ZERO) for day in days), ZERO)
    return CostAnomaly.model_validate({
        "service": service, "sku": sku, "kind": kind, "days": tuple(days), "actual": actual, "expected": should,
    })  # fmt: skip


def _expectations(history: Series, days: Sequence[date]) -> dict[date, float]:
    factors = _weekday_factors(history)
    level = _level(history, factors, days[0])
    return {day: level * factors[day.weekday()] for day in days}


def _weekday_factors(history: Series) -> dict[int, float]:
    """How a weekday stands to the middle of all days; 1 where it was never seen, or all is nothing."""
    middle = median(history.values())
    by_weekday: dict[int, list[float]] = defaultdict(list)
    for day, cost in history.items():
        by_weekday[day.weekday()].append(cost)
    if middle <= 0:
        return dict.fromkeys(range(7), 1.0)
    return {day: max(0.01, median(by_weekday[day]) / middle) if by_weekday[day] else 1.0 for day in range(7)}


def _level(history: Series, factors: Mapping[int, float], before: date) -> float:
    recent = [cost / factors[day.weekday()] for day, cost in history.items() if day >= before - LEVEL_DAYS * DAY]
    return median(recent) if recent else 0.0


def _noise(history: Series) -> float:
    """The robust standard deviation of a day's logarithm around what it should have been, by its own two weeks."""
    factors = _weekday_factors(history)
    flat = {day: cost / factors[day.weekday()] for day, cost in sorted(history.items())}
    residuals = []
    for day, cost in flat.items():
        around = [flat[near] for near in _around(day) if near in flat]
        if cost > 0 and around and (middle := median(around)) > 0:
            residuals.append(math.log(cost / middle))
    if len(residuals) < LEAST_DAYS:
        return math.inf
    centre = median(residuals)
    return MAD_TO_SIGMA * median(abs(residual - centre) for residual in residuals)


def _around(day: date) -> list[date]:
    return [day + offset * DAY for offset in range(-7, 8) if offset]


def _ratio(actual: float, expected: float) -> float:
    """The logarithm of actual to expected; a cost that went away, or came from nothing, is without bound."""
    if actual > 0 and expected > 0:
        return math.log(actual / expected)
    if abs(actual - expected) < float(CENT):
        return 0.0
    return math.inf if actual > expected else -math.inf


def _like_last_month(costs: Mapping[date, Decimal], day: date) -> bool:
    """Whether the same day of the month before cost about the same, and its neighbours did not."""
    last = day.replace(day=1) - DAY
    if day.day > last.day:
        return False
    then, now = float(costs.get(last.replace(day=day.day), ZERO)), float(costs.get(day, ZERO))
    alone = not costs.get(last.replace(day=day.day) + DAY) or not costs.get(day - DAY)
    return alone and then > 0 and now > 0 and abs(math.log(now / then)) <= math.log(LIKE_LAST_MONTH)
