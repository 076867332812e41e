"""Which tables need care: by tables of cases around each threshold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis.upkeep_needs import holding, needs
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Holder, TableFacts

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
POLICY = MaintenancePolicy()


def table(name: str = "public.t", **changes: Any) -> TableFacts:
    """A healthy table of a million rows, with some of it changed."""
    healthy = {
        "oid": 1, "name": name, "quoted": name, "pages": 10_000, "visible_pages": 9_990, "tuples": 1e6,
        "live": 1_000_000, "columns": 3, "columns_known": 3, "vacuumed": NOW - timedelta(days=1),
        "analyzed": NOW - timedelta(days=1), "xid_age": 1_000_000,
    }  # fmt: skip
    return TableFacts.model_validate({**healthy, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"dead": 900}, {"dead": 150_000}, {"modified": 90_000}, {"inserted": 150_000}, {"xid_age": 149_000_000},
        {"dead": 500, "live": 500, "tuples": 1000.0}, {"inserted": 9_000, "live": 10_000},
        {"columns_known": 0, "live": 10, "tuples": 10.0}, {"columns": 0, "columns_known": 0},
        {"is_system": True, "modified": 500_000, "inserted": 500_000}, {"live": 0, "tuples": -1.0, "columns_known": 0},
    ],
)  # fmt: skip
def test_a_healthy_table_needs_nothing(changes: dict[str, Any]) -> None:
    assert needs([table(**changes)], POLICY, ()) == ()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"dead": 300_000}, ("vacuum",)),
        ({"dead": 300_000, "modified": 10}, ("vacuum", "analyze")),
        ({"inserted": 400_000}, ("vacuum",)),
        ({"modified": 200_000}, ("analyze",)),
        ({"columns_known": 0}, ("analyze",)),
        ({"xid_age": 150_000_000}, ("vacuum", "freeze")),
        ({"mxid_age": 150_000_000}, ("vacuum", "freeze")),
        ({"is_system": True, "dead": 900_000}, ("vacuum",)),
        ({"is_parent": True, "columns_known": 0}, ("analyze",)),
    ],
)
def test_each_need_is_seen_with_what_it_takes(changes: dict[str, Any], wanted: tuple[str, ...]) -> None:
    (need,) = needs([table(**changes)], POLICY, ())
    assert tuple(kind for kind in ("vacuum", "analyze", "freeze") if getattr(need, kind)) == wanted
    assert need.reasons


def test_a_table_near_wraparound_comes_first_and_many_dead_rows_next() -> None:
    dead, deader = table("a", dead=300_000), table("d", dead=900_000)
    found = needs([dead, table("b", modified=900_000), table("c", xid_age=200_000_000), deader], POLICY, ())
    assert [need.table.name for need in found] == ["c", "d", "a", "b"]


def test_lost_counters_make_the_visibility_map_speak() -> None:
    hidden = table(visible_pages=1000, live=0, vacuumed=None, analyzed=None)
    assert needs([hidden], POLICY, ()) == ()
    (need,) = needs([hidden], POLICY, (), counters_lost=True)
    assert need.vacuum


def holder(since: datetime, holds_since: datetime | None = None) -> Holder:
    return Holder(kind="session", name="pid 7", pid=7, since=since, holds_since=holds_since or since)


def test_dead_rows_that_an_older_transaction_may_see_are_held_back() -> None:
    tried, old = table(dead=300_000, vacuumed=NOW), holder(NOW - timedelta(hours=1))
    assert holding(tried, [old]) == old


def test_a_table_that_was_not_vacuumed_since_the_transaction_began_may_be_cleaned_in_part() -> None:
    assert holding(table(dead=300_000), [holder(NOW)]) is None
    assert holding(table(dead=300_000, vacuumed=None), [holder(NOW)]) is None


def test_a_transaction_that_is_old_and_whose_snapshot_is_not_holds_nothing_for_certain() -> None:
    """At READ COMMITTED each statement has a snapshot of its own; and an id is given with the first write."""
    tried = table(dead=300_000, vacuumed=NOW - timedelta(minutes=5))
    assert holding(tried, [holder(NOW - timedelta(hours=1), NOW - timedelta(minutes=1))]) is None
