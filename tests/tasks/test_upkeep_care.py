"""What a run takes over from the one before it, and what a person's approval covers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import Effect, MaintenancePlan, WindowState
from tasks.upkeep_again import is_decided
from tasks.upkeep_care import begun, measured, rehearse, rehearsed
from tasks.upkeep_store import opened
from tests.tasks.analysis.test_upkeep_plan import GIB, facts, made

NOW = datetime.now(UTC)
POLICY = MaintenancePolicy()


class Database:
    """What of an estate's database is asked for here."""

    name = "app"
    maintenance = POLICY


def window(plan: MaintenancePlan, approved: tuple[str, ...] = (), **changes: Any) -> WindowState:
    began, until = NOW - timedelta(hours=1), NOW + timedelta(minutes=30)
    state = WindowState(database="app", began=began, until=until, actions=plan.actions, approved=approved)
    return state.model_copy(update=changes)


def on_a_copy(plan: MaintenancePlan, size: float) -> list[Effect]:
    """Everything went well on the copy, and each rebuilt index has a size."""
    return [
        Effect(action=action, ended="done", seconds=2, before={"bytes": 3.0 * GIB}, after={"bytes": size})
        for action in plan.actions
    ]


def test_only_a_rebuild_that_was_approved_may_have_left_what_is_dropped_without_asking() -> None:
    plan = made()
    small = next(action for action in plan.actions if action.target == "public.small")
    assert begun(None) == begun(window(plan)) == []
    assert begun(window(plan, (small.statement,))) == [small]


def test_a_window_that_goes_on_is_the_same_and_one_that_is_over_begins_anew_for_what_is_needed_again() -> None:
    open_, over = window(made()), window(made(), until=NOW - timedelta(minutes=1))
    goes_on, more = (opened(Database, one, timedelta(minutes=5), ()) for one in (open_, over))  # type: ignore[arg-type]
    assert (goes_on.since, goes_on.until) == (open_.began, open_.until)
    assert more.began == over.began, "what was done in it is told with the rest"
    assert more.since >= NOW
    assert more.until > NOW


@pytest.mark.parametrize(
    ("given", "approved", "decided"), [("", False, False), ("right", False, True), ("wrong", False, False),
                                       ("", True, True)],
)  # fmt: skip
def test_what_was_approved_is_not_planned_anew(given: str, approved: bool, decided: bool) -> None:
    plan = made()
    statements = tuple(action.statement for action in plan.heavy) if approved else ()
    word = {"right": plan.digest[:12], "wrong": "0" * 12}.get(given, "")
    assert is_decided(plan, window(plan, statements), word) is decided


def test_where_nothing_is_heavy_nothing_was_decided() -> None:
    plan = made(facts(indexes=()))
    assert not is_decided(plan, window(plan), "")


def test_a_rehearsal_that_shows_more_than_the_disk_has_room_for_refuses_the_rebuild() -> None:
    plan = made()
    after = rehearsed(plan, measured(plan.actions, on_a_copy(plan, 4.0 * GIB)), facts(), POLICY)
    assert {action.target for action in after.refused} == {"public.small", "public.broken", "public.large"}
    assert after.digest != plan.digest


def test_a_rehearsal_that_shows_less_gives_room_to_what_was_refused() -> None:
    seen = facts(used=8.9)
    plan = made(seen)
    assert [action.target for action in plan.refused] == ["public.large"]
    after = rehearsed(plan, measured(plan.actions, on_a_copy(plan, 0.01 * GIB)), seen, POLICY)
    assert after.refused == ()
    assert all(action.measured for action in after.heavy if action.kind == "reindex")


async def test_a_resumed_run_takes_over_what_was_rehearsed_and_makes_no_copy_again() -> None:
    plan = made()
    before = rehearsed(plan, measured(plan.actions, on_a_copy(plan, 0.01 * GIB)), facts(), POLICY)
    no_site: Any = None  # a copy would need one
    again = await rehearse(no_site, Database, plan, facts(), window(before))  # type: ignore[arg-type]
    assert again.actions == before.actions
