"""The secrets that a rotation changes, on the local cloud through the official client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from localcloud.control_client import Control
from tasks.clients.rotating_secrets import RotatingSecrets
from tasks.errors import Refused

MONTH = timedelta(days=30)


@pytest.fixture
def manager(google: Any) -> RotatingSecrets:
    made = RotatingSecrets(google)
    made.create_secret("token")
    for value in ("one", "two"):
        made.add_version("token", SecretStr(value))
    return made


def delayed(manager: RotatingSecrets, days: int) -> None:
    manager._update(manager.look("token"), {"version_destroy_ttl": timedelta(days=days)})


@pytest.mark.parametrize(("before", "after"), [(0, 30), (1, 30), (29, 30), (30, 30), (90, 90)])
def test_a_destruction_waits_for_thirty_days_at_least_and_a_longer_wait_stays(
    manager: RotatingSecrets, before: int, after: int
) -> None:
    if before:
        delayed(manager, before)
    manager.delay_destruction(manager.look("token"), MONTH)
    assert manager.look("token").destroy_delay == timedelta(days=after)
    began = datetime.now(UTC)
    retired = manager.retire("token", 1, MONTH)
    assert retired.destroyed_at is not None
    assert retired.destroyed_at - began >= timedelta(days=after, seconds=-1)
    assert manager.look("token").version(1) == retired


def test_a_wait_that_somebody_shortened_since_it_was_looked_at_is_refused_before_the_version_is_touched(
    manager: RotatingSecrets,
) -> None:
    state = manager.look("token")
    delayed(manager, 1)
    with pytest.raises(Refused, match="run the flow again"):
        manager.delay_destruction(state, MONTH)
    with pytest.raises(Refused, match="its secret would destroy it in 1 day"):
        manager.retire("token", 1, MONTH)
    assert [one.number for one in manager.look("token").enabled()] == [2, 1]


def test_a_version_that_was_scheduled_before_keeps_its_time_and_says_it(manager: RotatingSecrets) -> None:
    delayed(manager, 2)
    scheduled = manager.retire("token", 1, timedelta(days=1))
    manager.delay_destruction(manager.look("token"), MONTH)
    assert manager.retire("token", 1, MONTH) == scheduled
    assert manager.look("token").version(1) == scheduled


def test_a_wait_that_is_long_enough_is_not_written_again(
    manager: RotatingSecrets, faults: Control, project: str
) -> None:
    delayed(manager, 90)
    last = max(call.seq for call in faults.calls(project))
    manager.delay_destruction(manager.look("token"), MONTH)
    assert faults.calls(project, writes_only=True, after=last) == []
