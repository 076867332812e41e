"""What a month will cost at its end, and how far off the same method was on past days.

Five simple methods compete. Each is tried on the past days (``origins``) with as many days ahead as are left of this
month; the one with the least mean error of the month's end is taken, and its error is told. The interval comes from
these errors too, and from no assumption on their distribution: it is as wide as the share of them that it must hold
(split conformal prediction, https://arxiv.org/abs/2107.07511). Errors of neighbouring origins overlap, so their number
is counted as that of stretches that do not (``_effective``).

Days are net usage costs, complete ones only; taxes and adjustments are no part of it. Floats are enough for a guess: no
figure of what was spent passes through here.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from tasks.cost_models import ZERO, Backtest, Forecast, Spend

DAY = timedelta(days=1)
COVERAGE = 0.8
#: Days of history that a method may look back, and that are needed before anything is said.
LOOK_BACK = 35
LEAST_HISTORY = 45
#: Origins of the last six months: an older one tells of an application that is no more.
ORIGINS = 183
LEAST_ORIGINS = 8
CENT = Decimal("0.01")
Array = Any
Method = Callable[[Array, int], Array]


def forecast(by_day: Mapping[date, Spend], through: date) -> Forecast | None:
    """The end of the month in which ``through``, the last complete day, lies. None where the history is too short."""
    first = through.replace(day=1)
    last = through.replace(day=calendar.monthrange(through.year, through.month)[1])
    costs, left = series(by_day, through), (last - through).days
    spent = sum((by_day[day].net for day in by_day if first <= day <= through), ZERO)
    if left == 0:
        return _certain(first, through, spent)
    if len(costs) < LEAST_HISTORY:
        return None
    origins = _origins(through, len(costs), left)
    tested = {name: _backtest(method, costs, left, through.day, origins) for name, method in METHODS.items()}
    usable = {name: errors for name, errors in tested.items() if len(errors[0]) >= LEAST_ORIGINS}
    if not usable:
        return None
    best = min(usable, key=lambda name: (_mean(usable[name][1]), name))
    ahead = float(METHODS[best](costs, left)[-1])
    margin = ahead * _quantile(usable[best][0], left)
    return Forecast(
        month=f"{first:%Y%m}", through=through, spent=spent, expected=spent + _money(ahead),
        low=spent + _money(max(0.0, ahead - margin)), high=spent + _money(ahead + margin), method=best,
        past_error_percent=_percent(usable[best][1]),
        backtests=tuple(
            Backtest(method=name, origins=len(errors[1]), mean_error_percent=_percent(errors[1]))
            for name, errors in sorted(usable.items(), key=lambda item: _mean(item[1][1]))
        ),
    )  # fmt: skip


def series(by_day: Mapping[date, Spend], through: date) -> Array:
    """The net cost of each day up to ``through``, without a gap; a day that is absent cost nothing."""
    if not by_day or through < min(by_day):
        return np.zeros(0)
    first = min(by_day)
    days = range((through - first).days + 1)
    return np.array([float(by_day[day].net) if (day := first + n * DAY) in by_day else 0.0 for n in days])


def _certain(first: date, through: date, spent: Decimal) -> Forecast:
    """A month whose days are all complete needs no guess."""
    return Forecast(
        month=f"{first:%Y%m}", through=through, spent=spent, expected=spent, low=spent, high=spent, method="spent",
        past_error_percent=0.0, backtests=(),
    )  # fmt: skip


# --- the methods: (costs, days ahead) -> at each day from LOOK_BACK on, the sum of the days ahead --------------------


def _mean_of(days: int) -> Method:
    def ahead(costs: Array, left: int) -> Array:
        return _window(costs, days).mean(axis=1) * left

    return ahead


def _median_month(costs: Array, left: int) -> Array:
    """The median of four weeks: a single day that was dear does not count."""
    return np.median(_window(costs, 28), axis=1) * left


def _weekdays(costs: Array, left: int) -> Array:
    """Each day ahead as the median of its last four weekdays."""
    by_weekday = np.median(_window(costs, 28).reshape(-1, 4, 7), axis=1)
    whole, rest = divmod(left, 7)
    return by_weekday.sum(axis=1) * whole + by_weekday[:, :rest].sum(axis=1)


def _trend(costs: Array, left: int) -> Array:
    """The last two weeks, going on as they stand to the two before; half of the growth, since no growth lasts."""
    window = _window(costs, 28)
    before, now = window[:, :14].mean(axis=1), window[:, 14:].mean(axis=1)
    growth = np.clip(np.divide(now, before, out=np.ones_like(now), where=before > 0), 0.5, 2.0)
    per_day = growth ** (1 / 28)
    middle = per_day ** ((left + 14) / 2)
    return now * left * middle


METHODS: dict[str, Method] = {
    "mean of 7 days": _mean_of(7),
    "mean of 28 days": _mean_of(28),
    "median of 28 days": _median_month,
    "median of weekdays": _weekdays,
    "trend of 28 days": _trend,
}


def _window(costs: Array, days: int) -> Array:
    """The last ``days`` of each day from LOOK_BACK on, one row each."""
    return np.lib.stride_tricks.sliding_window_view(costs, days)[LOOK_BACK - days :]


# --- how they did ----------------------------------------------------------------------------------------------------


def _origins(through: date, known: int, left: int) -> Array:
    """The numbers of known days at which to try: the days ahead lie in one month there, and not on its first.

    So it is as on the day itself, when what is charged on each first is paid already. In the first days of a month
    hardly any stretch of past days is like that: then all count, and the interval is the wider for it.
    """
    tried = range(max(LOOK_BACK, known - ORIGINS), known - left + 1)
    ahead = [(through - (known - 1 - end) * DAY, end) for end in tried]
    same = [end for day, end in ahead if day.day > 1 and day.month == (day + (left - 1) * DAY).month]
    return np.array(same if len(same) >= LEAST_ORIGINS else list(tried), dtype=int)


def _backtest(method: Method, costs: Array, left: int, elapsed: int, ends: Array) -> tuple[Array, Array]:
    """Relative errors of the days ahead, and of a month of ``elapsed`` + ``left`` days, at each past origin."""
    sums = np.concatenate([[0.0], np.cumsum(costs)])
    if len(ends) == 0:
        return np.zeros(0), np.zeros(0)
    guessed = method(costs, left)[ends - LOOK_BACK]
    actual = sums[ends + left] - sums[ends]
    spent = sums[ends] - sums[np.maximum(0, ends - elapsed)]
    good = (guessed > 0) & (spent + actual > 0)
    off = np.abs(actual - guessed)[good]
    return off / guessed[good], off / (spent + actual)[good]


def _quantile(errors: Array, left: int) -> float:
    """The error that ``COVERAGE`` of those to come stay within."""
    count = _effective(len(errors), left)
    rank = min(1.0, COVERAGE * (1 + 1 / count))
    return float(np.quantile(errors, rank))


def _effective(origins: int, left: int) -> float:
    """How many errors these are worth: stretches of ``left`` days that begin a day apart are mostly the same days."""
    return max(1.0, origins / max(1.0, math.sqrt(left)))


def _mean(errors: Array) -> float:
    return float(errors.mean())


def _percent(errors: Array) -> float:
    return round(100 * _mean(errors), 2)


def _money(amount: float) -> Decimal:
    return Decimal(repr(amount)).quantize(CENT)
