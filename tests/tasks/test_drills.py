"""What becomes of a level that breaks off, and of a change that the ledger knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.exceptions import CancelledRun

from tasks import scratch_removal
from tasks.backup_models import BackupState, LevelResult, Manifest, Target
from tasks.drill_plan import DrillPlan
from tasks.drills import _rung, changed_between
from tasks.errors import NotAllowed, PermanentError, TimedOut, TransientError
from tasks.models import Change
from tests.sample import run

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)


async def raising(error: BaseException) -> LevelResult:
    raise error


@pytest.mark.parametrize(
    ("error", "verdict", "why"),
    [
        (PermanentError("no such relation"), "failed", "no such relation"),
        (ZeroDivisionError("by nothing"), "failed", "the level broke off: ZeroDivisionError: by nothing"),
        (NotAllowed("no role"), "not_possible", "no role"),
        (TransientError("busy"), "not_possible", "busy"),
        (TimedOut("too long"), "not_possible", "too long"),
        (TimeoutError("7200 s"), "not_possible", "TimeoutError: 7200 s"),
    ],
)
def test_a_level_that_breaks_off_has_a_verdict_with_its_reason(error: Exception, verdict: str, why: str) -> None:
    result = run(_rung(5, raising(error)))
    assert (result.verdict, result.why) == (verdict, why)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), CancelledRun("by a person"), KeyboardInterrupt()])
def test_a_cancellation_is_no_verdict_and_ends_the_drill(error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(_rung(5, raising(error)))


def test_a_scratch_instance_that_cannot_be_deleted_is_told_and_takes_no_verdict_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(site: Any, name: str) -> Awaitable[None]:
        return raising(TransientError(f"deleting {name} failed: 503"))  # type: ignore[return-value]

    monkeypatch.setattr(scratch_removal, "delete_scratch", refused)

    async def drill() -> list[Any]:
        async with scratch_removal.scratch_instance(None, "drill-x") as left:  # type: ignore[arg-type]
            pass
        return left

    (finding,) = run(drill())
    assert (finding.subject, finding.severity) == ("drill-x", "error")
    assert "503" in finding.what


def plan(moment: datetime, taken: datetime | None = None) -> DrillPlan:
    state = BackupState(
        instance="i", connection_name="c", created=None, automated=True, retained=7, point_in_time=True, disk_gb=10,
        tier="t", version="POSTGRES_18", runs=(),
    )  # fmt: skip
    manifest = taken and Manifest(database="d", origin="o", taken=taken, finished=taken, catalogue={}, tables=())
    target = Target(pick="point_in_time", moment=moment)
    return DrillPlan(
        database="d", state=state, levels=(), target=target, manifest=manifest, catalogue={}, started=NOW, scratch="s"
    )


def change(at: datetime, kind: str = "deploy") -> Change:
    return Change.new(kind=kind, subject="api", verdict="released", key=str(at), at=at)


@pytest.mark.parametrize(
    ("hours", "kind", "with_manifest", "excused"),
    [
        (5, "deploy", False, True),
        (5, "deploy", True, False),
        (8.5, "deploy", True, True),
        (8.5, "backup", True, False),
        (12, "deploy", False, False),
    ],
    ids=["since, compared with now", "since, compared with then", "in between", "a backup", "long before"],
)
def test_a_change_excuses_a_difference_only_where_it_lies_between_what_is_compared(
    hours: float, kind: str, with_manifest: bool, excused: bool
) -> None:
    taken = NOW - timedelta(hours=9) if with_manifest else None
    found = changed_between(plan(NOW - timedelta(hours=8), taken), (change(NOW - timedelta(hours=hours), kind),))
    assert (found is not None) is excused
