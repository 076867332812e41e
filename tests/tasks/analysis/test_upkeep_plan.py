"""The plan: order, head-room, digest, and going on with one that was broken off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis.upkeep_plan import SPEEDS, fits, merged, plan, with_heavy
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Facts, Holder, ServerFacts
from tasks.maintenance_models import DaysLeft, MaintenancePlan
from tests.tasks.analysis.test_upkeep_indexes import index
from tests.tasks.analysis.test_upkeep_needs import table

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
GIB = 1024**3


def facts(used: float | None = 2, disk: float = 10, **more: Any) -> Facts:
    """A database with a dead table, a stale one, a bloated index, a broken one and a leftover."""
    found = {
        "server": ServerFacts(
            at=NOW, version=180006, monitors=True, disk_bytes=int(disk * GIB),
            used_bytes=None if used is None else int(used * GIB),
        ),
        "tables": (table("public.dead", dead=500_000), table("public.stale", modified=500_000), table("public.fine")),
        "indexes": (
            index("public.large", density=20.0, bytes=2 * GIB, pages=262144, tuples=1e7),
            index("public.small", density=20.0), index("public.broken", valid=False),
            index("public.x_ccnew", valid=False),
        ),
    }  # fmt: skip
    return Facts.model_validate({**found, **more})


def made(found: Facts | None = None, **options: Any) -> MaintenancePlan:
    return plan("app", found or facts(), MaintenancePolicy(), **options)


def gone_on(
    found: Facts, before: MaintenancePlan, done: frozenset[str] = frozenset(), lately: frozenset[str] = frozenset()
) -> MaintenancePlan:
    return merged(made(found), before.actions, done, lately, found, MaintenancePolicy())


def test_light_work_comes_before_heavy_and_small_rebuilds_before_large() -> None:
    assert [action.target for action in made().actions] == [
        "public.dead", "public.stale", "public.x_ccnew", "public.small", "public.broken", "public.large",
    ]  # fmt: skip


def test_every_action_says_why_what_it_gains_what_it_locks_and_how_long_it_takes() -> None:
    for action in made().actions:
        assert action.reasons
        assert action.gain
        assert action.lock
        assert action.seconds > 0
        assert action.statement.endswith(action.quoted)


def test_a_rebuild_without_head_room_is_refused_and_no_other_action_is() -> None:
    refused = [action.target for action in made(facts(used=8.9)).actions if action.refused]
    assert refused == ["public.large"]


@pytest.mark.parametrize(("found", "word"), [(facts(used=None), "pg_monitor"), (facts(disk=0), "size")])
def test_without_knowing_the_disk_no_rebuild_is_begun(found: Facts, word: str) -> None:
    rebuilds = [action for action in made(found).actions if action.kind == "reindex"]
    assert rebuilds
    assert all(word in action.refused for action in rebuilds)
    assert not any(action.refused for action in made(found).actions if action.kind != "reindex")


def test_the_digest_covers_what_is_heavy_and_nothing_else() -> None:
    whole = made()
    other_sizes = facts(indexes=tuple(one.model_copy(update={"bytes": one.bytes + 8192}) for one in facts().indexes))
    assert made(other_sizes).digest == whole.digest
    assert made(facts(tables=())).digest == whole.digest
    assert made(facts(indexes=facts().indexes[1:])).digest != whole.digest
    assert made(facts(indexes=())).digest == ""


def test_a_healthy_database_has_no_plan() -> None:
    healthy = made(facts(tables=(table("public.fine"),), indexes=(index("public.i"),)))
    assert healthy.actions == ()
    assert (healthy.tables, healthy.healthy) == (1, 1)


def test_a_table_that_may_not_be_vacuumed_is_not_in_the_plan() -> None:
    denied = made(facts(tables=(table("public.dead", dead=500_000, may_maintain=False),), indexes=()))
    assert denied.actions == ()


def test_what_is_held_back_comes_last_and_its_holder_is_told() -> None:
    began = NOW - timedelta(hours=2)
    holder = Holder(
        kind="session", name="pid 7 (app, idle)", pid=7, since=began, holds_since=began, way_out="end it"
    )  # fmt: skip
    tables = (table("public.held", dead=900_000, vacuumed=NOW), table("public.dead", dead=300_000))
    told = made(facts(tables=tables, holders=(holder,), indexes=()))
    assert [(action.target, bool(action.held_by)) for action in told.actions] == [
        ("public.dead", False), ("public.held", True),
    ]  # fmt: skip
    assert [one.way_out for one in told.advice if one.kind == "vacuum held back"] == ["end it"]


def test_past_speeds_make_the_estimates() -> None:
    slow, quick = made(speeds={"reindex": 1e6}), made()
    assert slow.actions[-1].seconds == pytest.approx(quick.actions[-1].seconds * SPEEDS["reindex"] / 1e6, rel=0.01)


def test_a_rebuild_that_does_not_fit_into_the_window_is_not_begun() -> None:
    large, dead = made().actions[-1], made().actions[0]
    assert not fits(large, timedelta(seconds=large.seconds / 2))
    assert fits(large, timedelta(seconds=large.seconds * 2))
    assert fits(dead, timedelta(seconds=0.01))


def test_a_plan_goes_on_where_the_one_before_was_broken_off() -> None:
    before = made()
    left = facts(tables=(table("public.stale", modified=500_000),))
    done = frozenset({"vacuum public.dead", "reindex public.small"})
    on = gone_on(left, before, done, done)
    assert [action.target for action in on.actions] == [
        "public.stale", "public.x_ccnew", "public.broken", "public.large",
    ]  # fmt: skip


def test_what_is_needed_once_more_after_its_window_is_done_once_more() -> None:
    done = frozenset({"vacuum public.dead"})
    on = gone_on(facts(indexes=()), made(facts(indexes=())), done)
    assert "public.dead" in {action.target for action in on.actions}


def test_what_the_counters_forgot_in_a_crash_is_still_done() -> None:
    on = gone_on(facts(tables=(), indexes=()), made())
    assert {action.target for action in on.actions} == {action.target for action in made().actions}


def test_what_was_left_undone_is_refused_where_the_disk_has_filled_up_since() -> None:
    on = gone_on(facts(used=8.9, tables=(), indexes=()), made())
    assert [action.target for action in on.refused] == ["public.large"]
    assert on.digest == made(facts(used=8.9)).digest


def test_a_measured_rebuild_is_refused_after_the_light_work_where_the_disk_has_filled_up_since() -> None:
    before, later = made(), facts(used=8.9)
    measured = tuple(action.model_copy(update={"measured": True}) for action in before.actions)
    again = with_heavy(before.model_copy(update={"actions": measured}), made(later), later, MaintenancePolicy())
    assert [action.target for action in again.refused] == ["public.large"]
    assert all(action.measured for action in again.actions)


def test_a_measured_rebuild_that_had_no_room_before_is_done_where_there_is_room_now() -> None:
    before = made(facts(used=8.9))
    again = with_heavy(before, made(), facts(), MaintenancePolicy())
    assert again.refused == ()
    assert again.digest == made().digest


@pytest.mark.parametrize(
    ("left", "severity"),
    [
        (DaysLeft(what="disk", used=9, limit=10, per_day=0.1, days=10), "error"),
        (DaysLeft(what="sequence public.s", used=9, limit=10, per_day=0.01, days=100), "warning"),
    ],
)
def test_what_runs_out_within_the_horizon_is_told(left: DaysLeft, severity: str) -> None:
    said = [one for one in made(days_left=[left]).advice if one.subject == left.what]
    assert [one.severity for one in said] == [severity]


def test_what_lasts_beyond_the_horizon_is_not_told() -> None:
    lasting = DaysLeft(what="disk", used=1, limit=10, per_day=0.01, days=900)
    assert [one for one in made(days_left=[lasting]).advice if one.subject == "disk"] == []


@pytest.mark.parametrize(
    ("used", "settings", "told"),
    [(90e6, {}, []), (210e6, {}, ["error"]), (210e6, {"autovacuum_freeze_max_age": "1000000000"}, [])],
)
def test_a_busy_database_that_autovacuum_keeps_young_alarms_nobody(
    used: float, settings: dict[str, str], told: list[str]
) -> None:
    left = DaysLeft(what="transaction ids, public.t being the oldest", used=used, limit=2e9, per_day=1e8, days=20)
    seen = facts()
    seen = seen.model_copy(update={"server": seen.server.model_copy(update={"settings": settings})})
    assert [one.severity for one in made(seen, days_left=[left]).advice if one.subject == left.what] == told


def test_where_there_is_a_replica_no_vacuum_cuts_off_a_tables_end() -> None:
    """A replica that replays that lock cancels its queries."""
    seen = facts()
    with_replica = seen.model_copy(update={"server": seen.server.model_copy(update={"replicas": 1})})
    statements = [made(one).light[0].statement for one in (seen, with_replica)]
    assert ["TRUNCATE FALSE" in statement for statement in statements] == [False, True]
