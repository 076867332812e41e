"""The ladder: what could not be checked never counts, and worse than last time is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis import ladder
from tasks.backup_models import Evidence, LevelResult, LevelVerdict
from tasks.models import Measurement

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)


def levels(text: str) -> list[LevelResult]:
    """``PPFN-P..``: passed, failed, not possible, skipped."""
    words: dict[str, LevelVerdict] = {"P": "passed", "F": "failed", "N": "not_possible", "-": "skipped"}
    return [LevelResult(level=number, verdict=words[letter], why="why") for number, letter in enumerate(text)]


def measured(name: str, *values: float) -> list[Measurement]:
    return [
        Measurement(name=name, subject="p/d", value=value, unit="1", at=NOW - timedelta(days=len(values) - number))
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("text", "highest", "full", "verdict"),
    [
        ("PPPPPPPP", 7, True, "passed"),
        ("P-PPPPP-", 6, True, "passed"),
        ("PPPPPNPP", 4, False, "incomplete"),
        ("PPPFPPPP", 2, False, "failed"),
        ("FPPPPPPP", -1, False, "failed"),
        ("NPPPPPPF", -1, False, "failed"),
        ("PPNNNNNN", 1, False, "incomplete"),
    ],
)
def test_the_highest_level_has_nothing_failed_or_impossible_below_it(
    text: str, highest: int, full: bool, verdict: str
) -> None:
    found = levels(text)
    assert (ladder.highest(found), ladder.full_pass(found), ladder.verdict(found)) == (highest, full, verdict)


def test_a_level_fails_by_the_first_thing_that_is_wrong_and_counts_the_others() -> None:
    evidence = [Evidence(what="good"), Evidence(what="bad", ok=False), Evidence(what="worse", ok=False)]
    result = ladder.judged(4, evidence)
    assert (result.verdict, result.why) == ("failed", "bad (and 1 more)")
    assert result.evidence == tuple(evidence)


def test_a_level_at_which_nothing_was_looked_at_did_not_pass() -> None:
    result = ladder.judged(3, [])
    assert (result.verdict, result.why) == ("not_possible", "nothing was looked at")


def test_a_failure_with_another_reason_is_not_possible_and_keeps_what_was_seen() -> None:
    failed, passed = ladder.judged(4, [Evidence(what="bad", ok=False)]), ladder.judged(4, [Evidence(what="good")])
    excused = ladder.excused(failed, "a deploy")
    assert (excused.verdict, excused.why, excused.evidence) == ("not_possible", "a deploy; bad", failed.evidence)
    assert ladder.excused(failed, "") == failed
    assert ladder.excused(passed, "a deploy") == passed


def test_a_failure_by_comparisons_alone_is_told_from_one_of_the_copy_itself() -> None:
    differs, broken = Evidence(what="x", ok=False, compared=True), Evidence(what="y", ok=False)
    assert ladder.differs_only(ladder.judged(3, [differs, Evidence(what="good")]))
    assert not ladder.differs_only(ladder.judged(3, [differs, broken]))
    assert not ladder.differs_only(ladder.judged(3, [Evidence(what="good")]))


def test_a_failure_is_told_before_what_was_not_possible() -> None:
    assert ladder.why(levels("PPNPPPFP")) == "L6 (application starts) failed: why"
    assert ladder.why(levels("PPNPPPPP")) == "L2 (restored) not possible: why"
    assert ladder.why(levels("PPPPPPPP")) == ""


def test_days_since_the_last_full_pass_come_from_the_ledger() -> None:
    passes = measured(ladder.FULL_PASS, 1, 0, 0)
    assert ladder.days_since_full_pass(passes, NOW, False) == 3.0
    assert ladder.days_since_full_pass(passes, NOW, True) == 0.0
    assert ladder.days_since_full_pass(measured(ladder.FULL_PASS, 0, 0), NOW, False) is None


def test_worse_than_last_time_is_a_lower_level_or_the_end_of_a_full_pass() -> None:
    before, full = measured(ladder.LEVEL, 7), measured(ladder.FULL_PASS, 1)
    assert ladder.worse(before, 4, False, full) == "L4 is the highest level passed, it was L7"
    assert ladder.worse(before, 7, False, full) == "the last drill passed every level"
    assert ladder.worse(before, 7, True, full) == ""
    assert ladder.worse([], -1, False, []) == ""
