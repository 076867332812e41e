"""When something runs out: transaction ids, multixacts, sequences, the disk.

Safety property: a reset is no burn and a jump no trend. What a counter lost (a restore, a sequence set back, rows
removed for good) is left out; a stretch that lies far outside the others (one load of data) counts as what is used and
not as what comes; where the burn has changed for good, the burn since then counts. With too short a history nothing is
said.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from tasks.maintenance_facts import TableFacts
from tasks.maintenance_models import DaysLeft, TableAge
from tasks.models import Measurement

#: What lies further back tells of an application that is no more.
LOOK_BACK = timedelta(days=180)
#: At least so many stretches, over so long a time, before a burn is told.
LEAST_STRETCHES = 3
LEAST_TIME = timedelta(days=2)
#: A stretch whose rate lies so many spreads above the others' middle is a jump.
JUMP_SPREADS = 8.0
#: In days. Stretches that are shorter are put together to so much.
WEEK = 6.9
#: A change for good shows in at least so many weeks on each side,
SIDE = 2
#: by so many standard errors of the difference, and by this share of the rate.
SIGNIFICANT, CHANGED = 3.0, 0.25
#: Transaction ids are given until 3 million before the wrap; https://www.postgresql.org/docs/18/routine-vacuuming.html
XID_LIMIT = 2**31 - 3_000_000
MXID_LIMIT = 2**31
#: What the forecasts of these begin with.
TRANSACTION_IDS, MULTIXACTS = "transaction ids", "multixacts"
#: Tables that are told with their age.
MOST_TABLES = 10
Array = Any


def days_left(what: str, used: float, limit: float, history: Sequence[Measurement], why: str = "") -> DaysLeft:
    """When ``used`` reaches ``limit`` at the burn that a history of the same counter shows, the oldest first."""
    told = DaysLeft(what=what, used=used, limit=limit, why=why)
    found = burn(history)
    if found is None:
        return told
    per_day, shifted = found
    left = max(0.0, limit - used) / per_day if per_day > 0 else None
    return told.model_copy(update={"per_day": per_day, "days": left, "shifted": shifted})


def oldest(tables: Sequence[TableFacts], left: Sequence[DaysLeft]) -> tuple[TableAge, ...]:
    """The oldest tables, each with its days left at the burn of all."""
    by_age = sorted(tables, key=lambda table: (-max(table.xid_age, table.mxid_age), table.name))[:MOST_TABLES]
    xids, mxids = (
        next((one.per_day for one in left if one.what.startswith(what)), None)
        for what in (TRANSACTION_IDS, MULTIXACTS)
    )
    return tuple(
        TableAge(
            table=table.name, xids=table.xid_age, mxids=table.mxid_age,
            xid_days=_days(XID_LIMIT - table.xid_age, xids), mxid_days=_days(MXID_LIMIT - table.mxid_age, mxids),
        )
        for table in by_age if table.xid_age
    )  # fmt: skip


def _days(left: float, per_day: float | None) -> float | None:
    return max(0.0, left) / per_day if per_day else None


def until(now: datetime, history: Sequence[Measurement]) -> list[Measurement]:
    """A history without what a clock that was ahead has measured: beside that all the rest would be long ago."""
    return [one for one in history if one.at <= now]


def burn(history: Sequence[Measurement]) -> tuple[float, datetime | None] | None:
    """What a counter gains a day, and since when that is so, where it has changed. None for too short a history."""
    if not history:
        return None
    recent = [one for one in history if one.at >= history[-1].at - LOOK_BACK]
    gains, days, ends = _stretches(recent)
    if len(gains) < LEAST_STRETCHES or days.sum() < LEAST_TIME / timedelta(days=1):
        return None
    kept = ~_jumps(gains / days)
    gains, days, ends = _weeks(gains[kept], days[kept], [end for end, keep in zip(ends, kept, strict=True) if keep])
    place = _change(gains / days)
    per_day = float(gains[place:].sum() / days[place:].sum())
    return per_day, ends[place - 1] if place else None


def _stretches(history: Sequence[Measurement]) -> tuple[Array, Array, list[datetime]]:
    """Gain, length in days and end of each stretch between two measurements; without those in which it fell."""
    gains, days, ends = [], [], []
    for before, after in pairwise(history):
        length = (after.at - before.at) / timedelta(days=1)
        if length > 0 and after.value >= before.value:
            gains.append(after.value - before.value)
            days.append(length)
            ends.append(after.at)
    return np.array(gains), np.array(days), ends


def _jumps(rates: Array) -> Array:
    """Which stretches lie far above the rest: a single load of data, not a level that stays."""
    middle = np.median(rates)
    spread = np.median(np.abs(rates - middle)) * 1.4826
    high = rates > middle + JUMP_SPREADS * max(spread, 0.05 * middle, 1e-12)
    alone = np.convolve(high, np.ones(3), "same") <= 2
    return high & alone if high.mean() <= 0.2 else np.zeros(len(rates), dtype=bool)


def _weeks(gains: Array, days: Array, ends: list[datetime]) -> tuple[Array, Array, list[datetime]]:
    """Stretches put together to whole weeks, counted from the newest, so that a weekend is no change."""
    together: list[tuple[float, float, datetime]] = []
    gain = length = 0.0
    end: datetime | None = None
    for i in range(len(gains) - 1, -1, -1):
        end = end or ends[i]
        gain, length = gain + gains[i], length + days[i]
        if length >= WEEK:
            together.append((gain, length, end))
            gain, length, end = 0.0, 0.0, None
    if end is not None:  # the oldest days, less than a week: they tell nothing alone
        together = together or [(gain, length, end)]
    together.reverse()
    return np.array([one[0] for one in together]), np.array([one[1] for one in together]), [one[2] for one in together]


def _change(rates: Array) -> int:
    """The place from which on the rate is another one for good; 0 where it never changed.

    The split with the least squared error of two means, taken where the means differ by several standard errors.
    """
    best, place = np.inf, 0
    for split in range(SIDE, len(rates) - SIDE + 1):
        error = _spread(rates[:split]) * split + _spread(rates[split:]) * (len(rates) - split)
        if error < best:
            best, place = error, split
    if not place:
        return 0
    first, last = rates[:place], rates[place:]
    noise = float(np.sqrt(best / len(rates) * (1 / len(first) + 1 / len(last))))
    gap = abs(last.mean() - first.mean())
    return place if gap > SIGNIFICANT * noise and gap > CHANGED * first.mean() else 0


def _spread(values: Array) -> float:
    return float(np.var(values))
