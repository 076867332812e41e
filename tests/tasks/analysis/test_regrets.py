"""Which releases count as regretted: what a canary judged bad, against the last one that proved itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.analysis.regrets import Regret, regrets, shipped
from tasks.models import Change

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def deploy(day: int, commit: str, verdict: str, **after: Any) -> Change:
    return Change.new(
        kind="deploy", subject="api", verdict=verdict, key=f"{day}", at=DAY + timedelta(days=day),
        inputs={"commit": commit}, after={"verified": verdict == "released", **after},
    )  # fmt: skip


def test_what_the_canary_judged_bad_is_held_against_the_last_release_that_proved_itself() -> None:
    changes = [
        deploy(3, "bad", "rolled_back", judged_bad=True), deploy(1, "good", "released"), deploy(0, "older", "released"),
        deploy(2, "held", "held"), deploy(4, "later", "released"),
    ]  # fmt: skip
    assert regrets(changes, DAY) == (Regret("api", "bad", "good", DAY + timedelta(days=3)),)
    assert regrets(changes, DAY + timedelta(days=4)) == ()


def test_an_interrupted_or_unknown_release_blames_nothing() -> None:
    assert regrets([deploy(1, "good", "released"), deploy(2, "bad", "rolled_back")], DAY) == ()
    assert regrets([deploy(1, "", "released"), deploy(2, "bad", "rolled_back", judged_bad=True)], DAY) == ()


def test_what_was_shipped_is_read_from_the_ledger() -> None:
    change = Change.new(
        kind="dependencies", subject="r", verdict="proposed", key="k", at=DAY, after={"updates": {"api:web": "2.0"}}
    )
    assert shipped([change, deploy(0, "c", "released")]) == {("api:web", "2.0")}
