"""Which delivery is released and what becomes of the others, on graphs drawn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.analysis.ancestry import contained, holding
from tasks.analysis.branch import judge
from tasks.analysis.last_word import newest_released
from tasks.delivery_models import BranchHistory, Delivery, Judgement, Standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sha(letter: str) -> str:
    return letter * 40


A, B, C, D, X = (sha(letter) for letter in "abcde")
#: A ← B ← C ← D, the newest first.
LINE = BranchHistory(branch="main", parents={D: (C,), C: (B,), B: (A,), A: ()})
NOON = NOW - timedelta(hours=1)
RELEASED = Standing(kind="released", words="released at noon by run r", at=NOON)
WITHDRAWN = Standing(kind="withdrawn", words="rolled back by somebody at noon", at=NOON)
TRIED = Standing(kind="tried", words="tried at noon without success", at=NOON)
PARTLY = Standing(kind="partly", words="released for api alone at noon by run r", at=NOON)


def delivery(number: int, commit: str = "", **fields: object) -> Delivery:
    return Delivery.model_validate(
        {
            "id": number, "project": "p", "source": "github", "delivery": f"d{number}", "event": "push",
            "digest": str(number), "branch": "main", "commit": commit, "ticket": f"t{number}", "received": NOW,
            "due": NOW, "status": "waiting", **fields,
        }
    )  # fmt: skip


def judged(
    waiting: list[Delivery], standing: dict[str, Standing] | None = None, under_way: Delivery | None = None,
    hold: str = "", history: BranchHistory = LINE, tags: dict[str, str] | None = None, now: datetime = NOW,
) -> Judgement:
    return judge(waiting, history, tags or {}, standing or {}, under_way, hold, now)


def outcomes(judgement: Judgement) -> dict[int, str]:
    return {one.id: one.status for one in judgement.settled}


def test_of_several_pushes_the_newest_is_released_and_stands_for_the_others() -> None:
    found = judged([delivery(1, B), delivery(2, D), delivery(3, C)])
    assert (found.carrier, found.commit) == (2, D)
    assert outcomes(found) == {1: "superseded", 3: "superseded"}
    assert {one.note for one in found.settled} == {"superseded by delivery github/d2"}


def test_of_two_deliveries_of_one_commit_the_first_carries_it() -> None:
    found = judged([delivery(1, C), delivery(2, C)])
    assert found.carrier == 1
    assert outcomes(found) == {2: "superseded"}


def test_an_older_commit_never_overtakes_a_newer_one() -> None:
    found = judged([delivery(1, B), delivery(2, C)], {C: RELEASED})
    assert found.carrier is None
    assert outcomes(found) == {1: "already_released", 2: "already_released"}
    assert "part of cccccccccccc" in found.settled[0].note


def test_what_comes_after_a_released_commit_is_released() -> None:
    assert judged([delivery(1, D)], {C: RELEASED}).commit == D


@pytest.mark.parametrize("commit", [B, C])
def test_what_was_rolled_back_stays_back_until_the_branch_moves_past_it(commit: str) -> None:
    found = judged([delivery(1, commit)], {C: WITHDRAWN, A: RELEASED})
    assert outcomes(found) == {1: "ignored"}
    assert "rolled back by somebody" in found.settled[0].note
    assert judged([delivery(1, D)], {C: WITHDRAWN, A: RELEASED}).commit == D


def test_what_was_tried_without_success_may_be_asked_for_again_but_nothing_older() -> None:
    assert judged([delivery(1, C)], {C: TRIED}).commit == C
    assert outcomes(judged([delivery(1, B)], {C: TRIED})) == {1: "ignored"}


def test_what_was_released_for_one_service_alone_is_released_for_all_by_its_delivery_and_nothing_older() -> None:
    assert judged([delivery(1, C)], {C: PARTLY, A: RELEASED}).commit == C
    found = judged([delivery(1, B)], {C: PARTLY, A: RELEASED})
    assert outcomes(found) == {1: "ignored"}
    assert "released for api alone" in found.settled[0].note


def test_while_a_release_is_under_way_what_it_holds_is_settled_and_what_is_newer_waits() -> None:
    running = delivery(9, C, status="running")
    found = judged([delivery(1, B), delivery(2, C), delivery(3, D)], under_way=running)
    assert outcomes(found) == {1: "superseded", 2: "superseded"}
    assert found.carrier is None


def test_in_a_freeze_window_nothing_is_chosen_and_what_waits_waits_on() -> None:
    assert judged([delivery(1, D), delivery(2, C)], hold="frozen") == Judgement()


def test_another_branch_is_ignored_by_name() -> None:
    found = judged([delivery(1, D, branch="feature")])
    assert outcomes(found) == {1: "ignored"}
    assert "feature is not the branch that is released: main" in found.settled[0].note


def test_a_commit_that_the_branch_does_not_have_is_waited_for_and_then_ignored() -> None:
    assert judged([delivery(1, X)]) == Judgement()
    found = judged([delivery(1, X)], now=NOW + timedelta(minutes=3))
    assert outcomes(found) == {1: "ignored"}


def test_a_tag_means_its_commit() -> None:
    assert judged([delivery(1, tag="v1")], tags={"v1": C}).commit == C
    late = NOW + timedelta(minutes=3)
    assert "tag v2" in judged([delivery(1, tag="v2")], tags={"v2": ""}, now=late).settled[0].note


def test_a_delivery_without_a_commit_means_the_head() -> None:
    assert judged([delivery(1)]).commit == D


def later(known: Standing, minutes: int, **fields: Any) -> Standing:
    return known.model_copy(update={"at": NOON + timedelta(minutes=minutes), **fields})


#: A ← B, A ← C, and D merges the two.
MERGED = BranchHistory(branch="main", parents={D: (B, C), C: (A,), B: (A,), A: ()})


def test_after_a_force_push_a_person_decides_about_what_does_not_hold_the_newest_release() -> None:
    # A ← B was released; the branch is A ← X now.
    rewritten = BranchHistory(branch="main", parents={X: (A,), A: ()})
    found = judged([delivery(1, X)], {B: later(RELEASED, 1), A: RELEASED}, history=rewritten)
    assert (found.carrier, outcomes(found)) == (None, {1: "ignored"})
    assert "eeeeeeeeeeee would take back bbbbbbbbbbbb" in found.settled[0].note
    assert "not on the branch main; merge it, or run deploy by hand" in found.settled[0].note
    assert found.settled[0].aloud
    decided = {B: later(RELEASED, 1), A: later(RELEASED, 2)}  # a person released A again, by hand
    assert judged([delivery(1, X)], decided, history=rewritten).commit == X


def test_of_two_lines_that_were_merged_the_merge_is_released() -> None:
    found = judged([delivery(1, B), delivery(2, D), delivery(3, C)], history=MERGED)
    assert (found.commit, outcomes(found)) == (D, {1: "superseded", 3: "superseded"})


def test_a_side_line_that_does_not_hold_the_newest_release_is_ignored_and_the_merge_is_not() -> None:
    found = judged([delivery(1, C), delivery(2, D)], {B: RELEASED}, history=MERGED)
    assert (found.commit, outcomes(found)) == (D, {1: "ignored"})
    assert found.settled[0].note.startswith("cccccccccccc would take back bbbbbbbbbbbb, which is released at noon")
    assert not found.settled[0].aloud, "the merge is judged by itself"


def test_what_the_chosen_commit_does_not_hold_waits_for_its_own_turn() -> None:
    found = judged([delivery(1, B), delivery(2, C), delivery(3, A)], history=MERGED)
    assert (found.commit, outcomes(found)) == (C, {3: "superseded"})


def test_the_newest_release_is_the_last_one_and_not_the_newest_commit() -> None:
    back_by_hand = {C: RELEASED, B: later(RELEASED, 5)}
    assert newest_released(LINE, back_by_hand) == B
    assert judged([delivery(1, D)], back_by_hand).commit == D
    assert newest_released(LINE, {C: RELEASED, A: RELEASED}) == C
    assert newest_released(LINE, {C: WITHDRAWN, A: RELEASED}) == A


def test_what_was_pushed_before_a_person_rolled_back_what_it_holds_does_not_bring_that_back() -> None:
    back = later(WITHDRAWN, 30, by_hand=True)
    before, after = NOON + timedelta(minutes=29), NOON + timedelta(minutes=31)
    found = judged([delivery(1, D, received=before)], {C: back, B: RELEASED})
    assert outcomes(found) == {1: "ignored"}
    assert "holds cccccccccccc, rolled back by somebody" in found.settled[0].note
    assert judged([delivery(1, D, received=after)], {C: back, B: RELEASED}).commit == D
    assert judged([delivery(1, D, received=before)], {C: later(WITHDRAWN, 30), B: RELEASED}).commit == D, "its canary's"
    older = {C: back, B: later(RELEASED, 40)}  # a person released something else, and that not
    assert outcomes(judged([delivery(1, D, received=before)], older)) == {1: "ignored"}
    longer = BranchHistory(branch="main", parents={X: (D,), **LINE.parents})
    on = {C: back, D: later(RELEASED, 40)}  # a person went on since
    assert judged([delivery(1, X, received=before)], on, history=longer).commit == X


def test_what_was_pushed_before_a_person_went_back_to_an_older_commit_does_not_go_forward_again() -> None:
    went_back = {C: RELEASED, B: later(RELEASED, 30)}
    before, after = NOON + timedelta(minutes=29), NOON + timedelta(minutes=31)
    found = judged([delivery(1, D, received=before)], went_back)
    assert outcomes(found) == {1: "ignored"}
    assert "dddddddddddd holds cccccccccccc, from which somebody went back to bbbbbbbbbbbb" in found.settled[0].note
    assert judged([delivery(1, D, received=after)], went_back).commit == D


def test_of_a_delivery_without_a_commit_it_is_written_down_which_one_it_meant() -> None:
    back = later(WITHDRAWN, 30, by_hand=True)
    found = judged([delivery(1, received=NOON)], {C: back, B: RELEASED})
    assert [(one.status, one.commit) for one in found.settled] == [("ignored", D)]


@st.composite
def graphs(draw: st.DrawFn) -> BranchHistory:
    """A graph in topological order, the newest first, each commit with up to two older parents."""
    size = draw(st.integers(2, 12))
    names = [f"{number:040x}" for number in range(size)]
    parents = {
        name: tuple(draw(st.sets(st.sampled_from(names[place + 1 :]), min_size=1, max_size=2)))
        if place + 1 < size
        else ()
        for place, name in enumerate(names)
    }
    return BranchHistory(branch="main", parents=parents)


@given(graphs(), st.data())
def test_every_delivery_that_is_judged_has_one_outcome_and_what_is_chosen_is_older_than_none(
    history: BranchHistory, data: st.DataObject
) -> None:
    commits = list(history.parents)
    waiting = [delivery(n, c) for n, c in enumerate(data.draw(st.lists(st.sampled_from(commits), min_size=1)), 1)]
    kinds = data.draw(st.dictionaries(st.sampled_from(commits), st.sampled_from([RELEASED, WITHDRAWN, TRIED, PARTLY])))
    found = judged(waiting, kinds, history=history)
    settled = [one.id for one in found.settled]
    others = {one.id: one.commit for one in waiting if one.id not in settled}
    if found.carrier is None:
        assert not others
        return
    assert others.pop(found.carrier) == found.commit
    part = contained(history, [found.commit])
    assert not part.intersection(others.values()), "what waits on is of another line"
    final = [commit for commit, one in kinds.items() if one.kind not in ("tried", "partly")]
    assert found.commit not in contained(history, final)
    newest = newest_released(history, kinds)
    assert not newest or found.commit in holding(history, newest), "nothing is taken back"
    assert not [one for one in others.values() if found.commit in contained(history, [one])], "none waits that is newer"
