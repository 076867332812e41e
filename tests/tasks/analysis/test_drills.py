"""What a drill makes for a while: its names, its labels, who may remove it, what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis import drills
from tasks.backup_models import Tier
from tasks.models import Measurement

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
GB = 1024**3


def test_a_scratch_instance_is_named_after_its_run_and_cloud_sql_takes_the_name() -> None:
    name = drills.scratch_name("pyplots", "run-1")
    assert name == drills.scratch_name("pyplots", "run-1") != drills.scratch_name("pyplots", "run-2")
    assert len(drills.scratch_name("a" * 63, "r")) <= 40
    assert len(drills.service_name("s" * 49, name)) <= 49


@pytest.mark.parametrize(
    ("name", "labels", "swept"),
    [
        ("drill-x", drills.labels("pyplots", NOW), True),
        ("drill-x", drills.labels("other", NOW), False),
        ("drill-x", drills.labels("other", NOW - timedelta(hours=7)), True),
        ("drill-x", {}, False),
        ("drill-x", {"caretaker-managed": "true", "caretaker-expires": "1"}, False),
        ("pyplots-db", drills.labels("pyplots", NOW - timedelta(days=1)), False),
    ],
    ids=["ours", "another's, young", "another's, over", "no label", "another kind of ours", "named by the estate"],
)
def test_only_what_bears_the_label_and_is_nobodys_any_more_is_swept(
    name: str, labels: dict[str, str], swept: bool
) -> None:
    assert drills.is_leftover(name, labels, "pyplots", {"pyplots-db"}, NOW) is swept


def test_the_cheapest_tier_is_the_smallest_whose_disk_fits() -> None:
    tiers = [
        Tier(name="db-custom-2-7680", memory=8 * GB, most_disk=64000 * GB),
        Tier(name="db-f1-micro", memory=GB, most_disk=3000 * GB),
    ]
    assert drills.cheapest(tiers, 50) == "db-f1-micro"
    assert drills.cheapest(tiers, 5000) == "db-custom-2-7680"
    assert drills.cheapest(tiers, 70000) == ""


def test_a_drill_has_a_price_by_the_list_or_by_the_estate_and_none_where_nobody_knows() -> None:
    whole, line = drills.price("db-custom-2-7680", 100, 3600)
    assert whole == pytest.approx(2 * 0.0413 + 7.5 * 0.007 + 100 * 0.17 / 730)
    assert "list price" in line
    assert drills.price("db-perf-optimized-N-2", 0, 3600, given=0.5)[0] == 0.5
    assert drills.price("db-perf-optimized-N-2", 10, 60) == (
        None, "1.0 min of db-perf-optimized-N-2, whose price is not known; set hourly_price in the estate"
    )  # fmt: skip


def nights(missed: frozenset[int], count: int) -> list[Measurement]:
    """The looks of so many nights, but for some that were missed."""
    looked = list[Measurement]()
    for night in range(count):
        at = NOW + timedelta(days=night)
        share = drills.next_share(looked, at)
        if night not in missed:
            looked.append(Measurement(name="s", subject="d", value=share, unit="share", at=at))
    return looked


def test_every_object_has_its_night_within_thirty_again_and_again() -> None:
    looked = nights(frozenset(), 90)
    for begin in range(60):
        assert {item.value for item in looked[begin : begin + 30]} == set(range(30))
    assert drills.coverage(looked, looked[-1].at) == "every share was looked at within the last 29.0 days"


def test_a_missed_night_puts_a_share_off_by_one_night_and_not_by_thirty() -> None:
    looked = nights(frozenset({7, 40}), 92)
    last = {item.value: item.at for item in looked[:30]}
    for item in looked[30:]:
        assert item.at - last[item.value] <= timedelta(days=32)
        last[item.value] = item.at


def test_what_was_not_looked_at_yet_is_told() -> None:
    assert drills.coverage(nights(frozenset(), 3), NOW) == "3 of 30 shares were looked at so far"
