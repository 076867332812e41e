"""Whether the branch has something that nobody was told of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasks.analysis.lost import Found, look
from tasks.analysis.standing import standings
from tasks.delivery_models import Delivery
from tasks.models import Change
from tests.tasks.analysis.test_branch import LINE, A, B, C, D, X, delivery
from tests.tasks.analysis.test_standing import NOON, SERVICES, deploy, partly, roll_back


def looked(changes: list[Change], known: list[Delivery] | None = None, minutes: float = 10) -> Found:
    known, now = known or [], NOON + timedelta(minutes=minutes)
    settled = [one for one in known if one.settled]
    return look(LINE, standings(changes, settled, SERVICES), changes, known, now)


def test_a_head_that_nobody_told_of_is_lost() -> None:
    assert looked([deploy(1, C)]).kind == "lost"


def test_a_head_that_is_released_or_on_its_way_is_not() -> None:
    assert looked([deploy(1, D)]).kind == "nothing"
    assert looked([deploy(1, C)], [delivery(1, D)]).kind == "nothing"
    assert looked([deploy(1, C)], [delivery(1, "")]).kind == "nothing", "it may mean the head"
    assert looked([deploy(1, C)], [delivery(1, D, status="running", run="r")]).kind == "nothing"


def test_a_delivery_of_an_older_commit_says_nothing_of_the_head() -> None:
    assert looked([deploy(1, B)], [delivery(1, C, status="running", run="r")]).kind == "lost"


def test_what_a_person_or_a_canary_rolled_back_is_left_alone() -> None:
    assert looked([deploy(1, C), deploy(2, D), roll_back(3, "api-2")]).kind == "nothing"
    assert looked([deploy(1, C), deploy(2, D, "rolled_back", bad=True)]).kind == "nothing"


def test_after_a_roll_back_a_lost_delivery_of_what_comes_next_is_found() -> None:
    assert looked([deploy(1, A), deploy(2, C), roll_back(3, "api-2")]).kind == "lost"


def test_what_failed_is_not_tried_every_five_minutes() -> None:
    found = looked([deploy(1, C), deploy(2, D, "failed")])
    assert found.kind == "nothing"
    assert "run deploy by hand" in found.why


def test_the_first_release_is_a_persons() -> None:
    assert looked([]).kind == "nothing"


def settled(number: int, commit: str, minutes: float, **fields: Any) -> Delivery:
    at = NOON + timedelta(minutes=minutes)
    return delivery(number, commit, **{"received": at, "settled": at, **fields})


def test_a_release_by_hand_from_elsewhere_is_left_alone_until_the_branch_moves() -> None:
    by_hand = [deploy(1, C), deploy(5, "")]
    assert looked(by_hand).kind == "seen"
    note = settled(1, C, 6, source="reconcile", status="ignored")
    assert looked(by_hand, [note]).kind == "lost", "D came after the head was seen at C"
    assert looked(by_hand, [settled(1, D, 6, source="reconcile", status="ignored")]).kind == "nothing"
    assert looked(by_hand, [settled(1, C, 2, status="deployed", run="run-1")]).kind == "seen"


@pytest.mark.parametrize(
    "later",
    [
        {"commit": "", "status": "ignored", "event": "ping"},
        {"commit": X, "status": "ignored", "branch": "feature"},
        {"commit": B, "status": "already_released"},
    ],
)
def test_a_ping_another_branch_and_a_repetition_do_not_undo_a_release_by_hand(later: dict[str, Any]) -> None:
    by_hand = [deploy(1, C), deploy(5, "")]
    assert looked(by_hand, [settled(1, later.pop("commit"), 6, **later)]).kind == "seen"
    assert looked(by_hand, [settled(1, C, 6, status="failed", run="r")]).kind == "lost", "the branch moved since"


def test_a_head_that_would_take_back_the_newest_release_is_told_once_and_left_to_a_person() -> None:
    for known in ([], [settled(1, X, 0, status="deployed", run="run-1")]):
        found = looked([deploy(1, X)], known)
        assert (found.kind, "would take back eeeeeeeeeeee" in found.why) == ("seen", True)
    assert looked([deploy(1, X)], [settled(1, D, 6, source="reconcile", status="ignored")]).kind == "nothing"


def test_a_head_that_came_before_a_roll_back_by_hand_of_what_it_holds_is_not_healed() -> None:
    lines = [deploy(1, B), deploy(2, C), roll_back(5, "api-2")]
    found = looked(lines, [settled(1, D, 4, status="ignored")])
    assert (found.kind, "rolled back by ops@host" in found.why) == ("nothing", True)
    assert looked(lines).kind == "lost", "nobody told of it before"
    assert looked(lines, [settled(1, D, 6, status="ignored")]).kind == "lost"


def test_a_delivery_that_was_ignored_does_not_keep_its_commit_from_being_found() -> None:
    assert looked([deploy(1, A)], [settled(1, D, 0, status="ignored")]).kind == "lost"


def test_a_head_of_which_one_service_was_released_by_hand_is_lost_until_a_delivery_tells_of_it() -> None:
    lines = [deploy(1, C), partly(2, D, "api")]
    assert looked(lines).kind == "lost"
    assert looked(lines, [delivery(1, D)]).kind == "nothing"


def test_a_delivery_that_failed_before_it_had_a_run_told_nobody_of_its_commit() -> None:
    assert looked([deploy(1, A)], [settled(1, D, 0, status="failed")]).kind == "lost"
    assert looked([deploy(1, A)], [settled(1, D, 0, status="failed", run="r")]).kind == "nothing"


def test_one_of_reconciles_own_that_failed_so_is_followed_by_another_an_hour_later() -> None:
    ours = [settled(n, D, n, status="failed", source="reconcile") for n in (1, 2)]
    assert looked([deploy(1, A)], ours, minutes=61).kind == "nothing"
    found = looked([deploy(1, A)], ours, minutes=63)
    assert (found.kind, found.tries) == ("lost", 2)
