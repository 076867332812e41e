"""A freeze holds from its first instant up to, not including, its last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks.analysis.freeze import active
from tasks.estate import Freeze

START = datetime(2026, 12, 24, tzinfo=UTC)
END = datetime(2026, 12, 27, tzinfo=UTC)
CHRISTMAS = Freeze.model_validate({"from": START, "until": END, "reason": "Christmas"})
HOLIDAYS = Freeze.model_validate({"from": START, "until": END + timedelta(days=7), "reason": "holidays"})


@pytest.mark.parametrize(
    ("at", "frozen"),
    [
        (START - timedelta(seconds=1), False),
        (START, True),
        (END - timedelta(seconds=1), True),
        (END, False),
        (datetime(2026, 12, 24, 0, 30, tzinfo=timezone(timedelta(hours=1))), False),
    ],
)
def test_the_window_is_half_open_and_in_utc(at: datetime, frozen: bool) -> None:
    assert (active([CHRISTMAS], at) is not None) is frozen


def test_of_several_windows_the_one_that_ends_last_is_told() -> None:
    assert active([CHRISTMAS, HOLIDAYS], START) is HOLIDAYS
    assert active([], START) is None
