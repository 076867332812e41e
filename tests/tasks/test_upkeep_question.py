"""The question of a database's care, and its words."""

from __future__ import annotations

from tasks.maintenance_models import Effect, MaintenancePlan, MaintenanceVerdict
from tasks.upkeep_question import named, question
from tasks.upkeep_text import verdict_report
from tests.tasks.analysis.test_upkeep_indexes import index
from tests.tasks.analysis.test_upkeep_plan import facts, made


def test_the_question_shows_every_heavy_statement_with_its_price_and_nothing_that_needs_no_approval() -> None:
    many = made(facts(disk=10_000, indexes=tuple(index(f"public.i{number}", density=20.0) for number in range(60))))
    asked = question(many).plan
    assert all(f"`{action.statement}`" in asked for action in many.heavy)
    assert asked.count("**why**: ") == asked.count("**takes**: about ") == len(many.heavy) == 60
    assert not any(action.statement in asked for action in many.light)
    assert question(many).digest == many.digest


def test_what_has_no_room_is_shown_as_not_done_whatever_the_answer() -> None:
    asked = question(made(facts(used=8.9))).plan
    assert "`REINDEX INDEX CONCURRENTLY public.large`: no head-room" in asked.partition("## Not done")[2]


def test_a_title_counts_rebuilds_and_leftovers() -> None:
    heavy = made().heavy
    assert named(heavy) == "3 rebuilds of indexes, 1 leftover to drop"
    assert named(heavy[1:2]) == "1 rebuild of an index"
    assert named(heavy[:1]) == "1 leftover to drop"


def test_the_verdict_says_how_many_actions_ended_how() -> None:
    plan: MaintenancePlan = made()
    ends = ["done", "done", "held_back"]
    pairs = zip(plan.actions[:3], ends, strict=True)
    effects = [Effect.model_validate({"action": action, "ended": end}) for action, end in pairs]
    verdict = MaintenanceVerdict(verdict="incomplete", database="app", plan=plan, effects=tuple(effects))
    assert "- ✓ done: 2, ‖ held back: 1\n- 1 of 3 tables are healthy" in verdict_report(verdict)
