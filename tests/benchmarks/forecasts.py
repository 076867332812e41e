"""Forecasts of the month's end on generated years, beside how the months ended."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from localcloud.billing.bill import Bill
from tasks.analysis.cost_forecast import forecast
from tasks.cost_models import Spend

DAY = timedelta(days=1)
YEAR = 2025
FIRST_DAY = 10


@dataclass
class Made:
    """Relative errors of the month's end, whether the 80 % interval held it, and the error that was told."""

    first_day: int = FIRST_DAY
    errors: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    told: list[float] = field(default_factory=list)

    @property
    def mean_error(self) -> float:
        return sum(self.errors) / len(self.errors)

    @property
    def coverage(self) -> float:
        return sum(self.held) / len(self.held)

    @property
    def told_error(self) -> float:
        return sum(self.told) / len(self.told)


def forecasts(years: int, every: int, first_day: int = FIRST_DAY) -> Made:
    """Forecast each month of generated years, from ``first_day`` on every so many days, as far as history allows."""
    made = Made(first_day)
    for seed in range(years):
        costs = Bill(seed, date(YEAR, 1, 1)).costs(365)
        by_day = {
            date(YEAR, 1, 1) + n * DAY: Spend(cost=Decimal(repr(round(float(cost), 6))))
            for n, cost in enumerate(costs)
        }
        for month in range(1, 13):
            _month(made, by_day, month, every)
    return made


def _month(made: Made, by_day: dict[date, Spend], month: int, every: int) -> None:
    days = calendar.monthrange(YEAR, month)[1]
    ended = sum(float(by_day[date(YEAR, month, day)].net) for day in range(1, days + 1))
    for day in range(made.first_day, days, every):
        through = date(YEAR, month, day)
        told = forecast({at: spend for at, spend in by_day.items() if at <= through}, through)
        if told is not None:
            made.errors.append(abs(float(told.expected) - ended) / ended)
            made.held.append(float(told.low) <= ended <= float(told.high))
            made.told.append(told.past_error_percent / 100)
