"""A statement that ended without an error is no proof: what an action was for is looked at."""

from __future__ import annotations

import pytest

from tasks.analysis.upkeep_verdicts import judged
from tasks.maintenance_models import Action, Kind

Figures = dict[str, float]


def action(kind: Kind, *, held_by: str = "") -> Action:
    return Action(
        kind=kind, target="public.t", quoted="public.t", oid=1, table="public.t", table_oid=1, statement="",
        reasons=("a number",), gain="", lock="", dead=kind == "vacuum", held_by=held_by,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "before", "after", "ended", "why"),
    [
        ("reindex", {"valid": 0}, {"valid": 1}, "done", ""),
        ("reindex", {"valid": 0}, {"valid": 0}, "failed", "it is still invalid"),
        ("reindex", {"valid": 1}, {}, "failed", "it is still invalid"),
        ("drop_leftover", {"bytes": 8192}, {}, "done", ""),
        ("drop_leftover", {"bytes": 8192}, {"bytes": 8192, "valid": 0}, "failed", "it is still there"),
        ("vacuum", {"dead_rows": 1000}, {"dead_rows": 0}, "done", ""),
        ("vacuum", {"dead_rows": 1000}, {"dead_rows": 890}, "done", ""),
        ("vacuum", {"dead_rows": 1000}, {"dead_rows": 1000}, "held_back", "still seen by an older transaction"),
        ("vacuum", {"dead_rows": 0}, {"dead_rows": 0}, "done", ""),
        ("analyze", {"dead_rows": 1000}, {"dead_rows": 1000}, "done", ""),
    ],
)
def test_what_an_action_was_for_decides_how_it_ended(
    kind: Kind, before: Figures, after: Figures, ended: str, why: str
) -> None:
    word, said = judged(action(kind), "", before, after)
    assert word == ended
    assert why in said
    assert bool(said) == bool(why)


def test_who_holds_rows_back_is_named_and_what_the_server_skipped_is_no_failure() -> None:
    full = {"dead_rows": 1000.0}
    assert "seen by session pid 7" in judged(action("vacuum", held_by="session pid 7"), "", full, full)[1]
    assert judged(action("reindex"), "skipping it", {}, {}) == ("skipped", "skipping it")
