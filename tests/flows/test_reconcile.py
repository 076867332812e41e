"""Reconcile, on a real Prefect server: a delivery that never came is healed, and nobody's decision is undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.reconcile import Reconcile, reconcile
from tasks.lost_deliveries import Lookout
from tests.sample import run
from tests.stack import Stack
from tests.webhooks.followed import Followed
from tests.webhooks.receiver import arrivals


@pytest.fixture
def followed(stack: Stack, tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def reconciled(followed: Followed, **parameters: Any) -> Any:
    return run(reconcile(Reconcile(estate=followed.sample.estate_file, **parameters)))


def test_a_delivery_that_never_came_is_healed_once(followed: Followed) -> None:
    followed.record(followed.commits[0])
    lost = followed.commit()
    planned = reconciled(followed, dry_run=True)
    assert (planned.verdict, planned.commit) == ("planned", lost)
    assert arrivals(followed.hand_over.inbox) == [], "a dry run writes nothing"
    found = reconciled(followed)
    assert (found.verdict, found.delivery) == ("started", f"reconcile/{lost}")
    assert followed.refs() == [lost]
    assert reconciled(followed).verdict == "unchanged"
    followed.released(lost)
    assert reconciled(followed).verdict == "unchanged"
    assert followed.refs() == [lost]


def test_the_receivers_lookout_heals_it_too_and_asks_the_repository_alone_while_its_head_stays(
    followed: Followed,
) -> None:
    lookout = Lookout(followed.hand_over)
    followed.record(followed.commits[0])
    assert [lookout.moved(), lookout.look(), lookout.moved()] == [True, False, False]
    lost = followed.commit()
    assert [lookout.moved(), lookout.look()] == [True, True]
    assert [one.name for one in followed.hand_over.inbox.open()] == [f"reconcile/{lost}"]
    assert [lookout.moved(), lookout.look(), lookout.moved()] == [True, False, False], "it is told of now"
    followed.step()
    assert followed.refs() == [lost]


def test_what_is_released_needs_nothing_and_nothing_is_written(followed: Followed) -> None:
    followed.record(followed.commits[0])
    found = reconciled(followed)
    assert (found.verdict, followed.runs(), arrivals(followed.hand_over.inbox)) == ("unchanged", [], [])
    assert "released" in found.why


def test_a_roll_back_pins_until_the_branch_moves_past_it(followed: Followed) -> None:
    bad = followed.commit()
    followed.record(followed.commits[0])
    followed.record(bad)
    followed.record("", kind="roll_back", before={"revision": f"api-{bad[:7]}"})
    assert reconciled(followed).verdict == "unchanged"
    mended = followed.commit()
    assert reconciled(followed).verdict == "started"
    assert followed.refs() == [mended]


def test_what_its_canary_rolled_back_is_not_tried_again(followed: Followed) -> None:
    followed.record(followed.commits[0])
    followed.record(followed.commit(), verdict="rolled_back", judged_bad=True)
    assert (reconciled(followed).verdict, followed.runs()) == ("unchanged", [])


def test_it_hands_over_what_waits_where_no_receiver_does(followed: Followed) -> None:
    followed.record(followed.commits[0])
    one = followed.deliver("d1", followed.commit())
    assert reconciled(followed).verdict == "unchanged"
    assert (followed.now(one).status, followed.refs()) == ("running", [followed.commits[1]])


def test_an_estate_that_follows_no_branch_has_nothing_to_reconcile_and_does_not_fail(followed: Followed) -> None:
    text = followed.sample.estate_file.read_text()
    begin, end = text.index("[source]"), text.index("[notify]")
    followed.sample.estate_file.write_text(text[:begin] + text[end:])
    found = reconciled(followed)
    assert (found.verdict, "[source]" in found.why) == ("unchanged", True)
