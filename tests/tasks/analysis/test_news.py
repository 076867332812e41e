"""What is told again, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.news import fingerprint, is_news
from tasks.models import Measurement

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SAID = fingerprint("deploy pyplots: failed", "building api failed")


def remembered(what: str, ago: timedelta, value: float = 1) -> Measurement:
    return Measurement(name="told", subject="p/deploy", value=value, unit="1", at=NOW - ago, labels={"what": what})


@pytest.mark.parametrize(
    ("last", "news"),
    [
        (None, True),
        (remembered(SAID, timedelta(minutes=5)), False),
        (remembered(SAID, timedelta(hours=23, minutes=59)), False),
        (remembered(SAID, timedelta(days=1)), True),
        (remembered("something else", timedelta(minutes=5)), True),
        (remembered("", timedelta(minutes=5), value=0), True),
    ],
)
def test_the_same_is_news_once_a_day_or_after_all_was_well(last: Measurement | None, news: bool) -> None:
    assert is_news(SAID, last, NOW) is news


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer in 12.3 s", "no answer in 4 s"),
        ("at 2026-11-25 03:04:05 the port 4711 refused", "at 2026-11-26 13:14:15 the port 12 refused"),
        ("run 0b5a9b1e-1111-2222-3333-444455556666 died", "run 0b5a9b1e-9999-2222-3333-444455556666 died"),
    ],
)
def test_times_and_ids_make_no_news(one: str, other: str) -> None:
    assert fingerprint("t", one) == fingerprint("t", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("canary of api-00012 was unhealthy", "canary of api-00013 was unhealthy"),
        ("3 of 40 requests failed", "30 of 40 requests failed"),
        ("migrating to 0003_add failed", "migrating to 0004_drop failed"),
    ],
)
def test_another_revision_number_or_object_is_news(one: str, other: str) -> None:
    assert fingerprint("t", one) != fingerprint("t", other)
