"""What became of a commit, from the ledger's lines and the inbox's outcomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.analysis.standing import standings
from tasks.models import Change
from tests.tasks.analysis.test_branch import A, B, C, delivery

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def deploy(number: int, commit: str, verdict: str = "released", **fields: Any) -> Change:
    after = {"revision": f"api-{number}", "verified": verdict == "released", "judged_bad": fields.pop("bad", False)}
    return Change.new(
        **{
            "kind": "deploy", "subject": "api", "verdict": verdict, "key": str(number), "run": f"run-{number}",
            "at": NOON + timedelta(minutes=number), "inputs": {"commit": commit}, "after": after, "id": number,
            **fields,
        }
    )  # fmt: skip


def roll_back(number: int, left: str, **fields: Any) -> Change:
    return Change.new(
        **{
            "kind": "roll_back", "subject": "api", "verdict": "released", "key": str(number), "run": f"run-{number}",
            "who": "ops@host", "at": NOON + timedelta(minutes=number), "before": {"revision": left},
            "after": {"revision": "api-1", "verified": True}, "id": number, **fields,
        }
    )  # fmt: skip


SERVICES = frozenset({"api", "frontend"})


def kinds(changes: list[Change], outcomes: Any = ()) -> dict[str, str]:
    return {commit: one.kind for commit, one in standings(changes, outcomes, SERVICES).items()}


def partly(number: int, commit: str, *chosen: str, **fields: Any) -> Change:
    """A deploy of some services, as its run writes it down."""
    return deploy(number, commit, **{"inputs": {"commit": commit, "services": list(chosen)}, **fields})


def test_a_release_stands_as_released_and_a_failed_one_as_tried() -> None:
    assert kinds([deploy(1, A), deploy(2, B, "failed")]) == {A: "released", B: "tried"}


def test_what_a_person_rolled_back_is_withdrawn_and_the_words_say_who() -> None:
    found = standings([deploy(1, A), deploy(2, B), roll_back(3, "api-2")], [], SERVICES)
    assert {commit: one.kind for commit, one in found.items()} == {A: "released", B: "withdrawn"}
    assert found[B].words == "rolled back by ops@host at 2026-03-01 12:03 UTC"


def test_what_its_canary_rolled_back_is_withdrawn_even_if_another_service_was_released() -> None:
    lines = [deploy(1, B, "released", subject="frontend", run="r"), deploy(2, B, "rolled_back", bad=True, run="r")]
    assert kinds(lines) == {B: "withdrawn"}
    assert kinds(list(reversed(lines))) == {B: "withdrawn"}


def test_a_release_by_hand_of_what_was_rolled_back_counts_again() -> None:
    assert kinds([deploy(1, A), deploy(2, B), roll_back(3, "api-2"), deploy(4, B)])[B] == "released"


def test_a_later_try_that_came_to_nothing_leaves_what_was() -> None:
    assert kinds([deploy(1, A), deploy(2, A, "failed")]) == {A: "released"}
    assert kinds([deploy(1, A), deploy(2, B), roll_back(3, "api-2"), deploy(4, B, "failed")])[B] == "withdrawn"


def test_a_release_that_changed_nothing_is_known_from_the_inbox() -> None:
    done = {"settled": NOON, "run": "r"}
    outcomes = [delivery(1, C, status="already_released", **done), delivery(2, B, status="failed", **done)]
    assert kinds([], outcomes) == {C: "released", B: "tried"}


def test_a_delivery_that_made_no_run_says_nothing_of_its_commit() -> None:
    assert kinds([], [delivery(1, C, status="superseded", settled=NOON)]) == {}


def test_a_release_of_a_folder_without_a_commit_says_nothing() -> None:
    assert kinds([deploy(1, "")]) == {}


def test_a_deploy_of_one_service_by_hand_does_not_count_as_a_release_of_its_commit() -> None:
    found = standings([partly(1, A, "api")], [], SERVICES)
    assert found[A].kind == "partly"
    assert found[A].words == "released for api alone at 2026-03-01 12:01 UTC by run run-1"
    assert kinds([partly(1, A, "api", "frontend")]) == {A: "released"}


def test_a_deploy_of_a_part_leaves_what_was_known_of_the_whole() -> None:
    assert kinds([deploy(1, A), partly(2, A, "api")]) == {A: "released"}
    assert kinds([deploy(1, A), roll_back(2, "api-1"), partly(3, A, "api")]) == {A: "withdrawn"}
    assert kinds([deploy(1, A, "failed"), partly(2, A, "api")]) == {A: "tried"}
    assert kinds([partly(1, A, "api"), deploy(2, A)]) == {A: "released"}
    assert kinds([partly(1, A, "api"), roll_back(2, "api-1")]) == {A: "withdrawn"}


def test_when_it_was_released_the_ledger_says_and_not_when_its_delivery_was_settled() -> None:
    late = delivery(1, A, status="deployed", settled=NOON + timedelta(hours=1), run="run-1")
    found = standings([deploy(1, A), deploy(5, B)], [late], SERVICES)
    assert [found[commit].at - NOON for commit in (A, B)] == [timedelta(minutes=1), timedelta(minutes=5)]


def test_a_deliverys_own_run_is_a_release_whatever_services_its_deployment_names() -> None:
    done = delivery(1, A, status="deployed", settled=NOON, run="run-1")
    assert kinds([partly(1, A, "api")], [done]) == {A: "released"}


def test_a_roll_back_from_what_a_rotation_released_anew_withdraws_the_commit() -> None:
    turned = deploy(2, "", kind="rotation", before={"revision": "api-1"})
    assert kinds([deploy(1, A), turned, roll_back(3, "api-2")]) == {A: "withdrawn"}
