"""What Cloud SQL says of backups, judged by the estate's policy; and which of them a drill restores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis import backups
from tasks.backup_models import BackupState, Evidence, Manifest, TableContent, Target, Window
from tasks.errors import Refused
from tasks.estate import BackupPolicy, Database
from tasks.models import Backup

NOW = datetime(2026, 11, 25, 1, 30, tzinfo=UTC)
POLICY = BackupPolicy(max_age_hours=26, retained=7, point_in_time=True)
DATABASE = Database.model_validate(
    {"name": "d", "instance": "i", "database": "d", "owner": "o", "users": ("u",), "url_secret": "s"}
)


def run(number: int, hours: float, status: str = "SUCCESSFUL", kind: str = "AUTOMATED", minutes: float = 2) -> Backup:
    started = NOW - timedelta(hours=hours)
    ended = started + timedelta(minutes=minutes)
    return Backup(id=number, instance="i", status=status, kind=kind, started=started, ended=ended)


def state(*runs: Backup, **changes: Any) -> BackupState:
    fields: dict[str, Any] = {
        "instance": "i", "connection_name": "p:r:i", "created": NOW - timedelta(days=90), "automated": True,
        "retained": 7, "point_in_time": True, "disk_gb": 10, "tier": "db-f1-micro", "version": "POSTGRES_18",
        "runs": runs, "window": Window(earliest=NOW - timedelta(days=7), latest=NOW - timedelta(minutes=2)),
    }  # fmt: skip
    return BackupState(**{**fields, **changes})


def nightly(count: int = 7) -> list[Backup]:
    return [run(100 - night, 4 + 24 * night) for night in range(count)]


def wrong(evidence: list[Evidence]) -> list[str]:
    return [line.what for line in evidence if not line.ok]


def test_seven_good_nights_are_good() -> None:
    assert wrong(backups.policy_kept(state(*nightly()), POLICY, NOW)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (state(*nightly(), automated=False), "automated backups are off"),
        (state(*nightly(), retained=3), "3 backups are retained, the estate asks for 7"),
        (state(*nightly(4)), "4 good automated backups are kept, expected 7"),
        (state(run(1, 30), *nightly()[2:], run(9, 300)), "backup, 1, is 30.0 h old, beyond 26 h"),
        (state(run(101, 1, "FAILED"), *nightly()), "backup 101 ended FAILED"),
        (state(run(101, 1, kind="ON_DEMAND")), "there is no good automated backup"),
    ],
)
def test_what_breaks_the_policy_is_named(changed: BackupState, said: str) -> None:
    assert any(said in line for line in wrong(backups.policy_kept(changed, POLICY, NOW)))


def test_a_failure_before_the_newest_good_one_is_over() -> None:
    assert wrong(backups.policy_kept(state(*nightly(), run(50, 10, "FAILED")), POLICY, NOW)) == []


def test_a_young_instance_is_not_asked_for_more_nights_than_it_had() -> None:
    young = state(*nightly(2), created=NOW - timedelta(days=2, hours=5))
    assert wrong(backups.policy_kept(young, POLICY, NOW)) == []


def test_a_window_that_lags_or_is_not_there_fails() -> None:
    late = Window(earliest=NOW - timedelta(days=7), latest=NOW - timedelta(hours=5))
    assert "5.0 h behind" in wrong(backups.recoverable(state(window=late), POLICY, NOW))[0]
    off = state(point_in_time=False, window=None, why_no_window="point-in-time recovery is off")
    assert wrong(backups.recoverable(off, POLICY, NOW)) == ["point-in-time recovery is off"] * 2
    assert wrong(backups.recoverable(state(), POLICY, NOW)) == []


def test_a_backup_that_shrank_or_took_long_is_pointed_out() -> None:
    runs = nightly()
    sizes = {item.id: 1000 for item in runs} | {runs[0].id: 400}
    assert "400 bytes" in backups.unusual(state(*runs, sizes=sizes))[0].what
    slow = [run(200, 3, minutes=30), *runs]
    assert "took 1800 s" in backups.unusual(state(*slow))[0].what
    assert backups.unusual(state(*runs, sizes=dict.fromkeys((item.id for item in runs), 1000))) == []


def test_the_newest_automated_backup_is_taken_with_the_newest_manifest_before_it() -> None:
    manifests = [NOW - timedelta(hours=h) for h in (52, 28.2, 4.2, 1)]
    target = backups.choose(DATABASE, state(run(7, 1, kind="ON_DEMAND"), *nightly()), "newest", manifests, NOW)
    assert target.backup is not None
    assert (target.backup.id, target.manifest) == (100, backups.stamp(NOW - timedelta(hours=4.2)))


def test_a_manifest_of_another_night_is_none() -> None:
    target = backups.choose(DATABASE, state(*nightly()), "newest", [NOW - timedelta(hours=60)], NOW)
    assert target.manifest == ""


def test_a_random_older_backup_is_the_same_all_day_and_never_the_newest() -> None:
    found = {backups.choose(DATABASE, state(*nightly()), "random", [], NOW).backup for _ in range(5)}
    assert len(found) == 1
    days = [NOW + timedelta(days=day) for day in range(40)]
    picked = {backups.choose(DATABASE, state(*nightly()), "random", [], day).backup for day in days}
    assert len(picked) > 3
    assert nightly()[0] not in picked
    with pytest.raises(Refused, match="an older backup of i refused: it has 1 good one"):
        backups.choose(DATABASE, state(*nightly(1)), "random", [], NOW)


def test_a_point_in_time_lies_just_after_a_manifest_inside_the_window() -> None:
    inside, outside = NOW - timedelta(days=2), NOW - timedelta(days=20)
    target = backups.choose(DATABASE, state(*nightly()), "point_in_time", [outside, inside], NOW)
    assert (target.moment, target.manifest) == (inside + timedelta(seconds=1), backups.stamp(inside))
    with pytest.raises(Refused, match="turn point-in-time recovery on"):
        backups.choose(DATABASE, state(window=None), "point_in_time", [inside], NOW)


def test_a_manifests_name_gives_its_time_back() -> None:
    taken = datetime(2026, 11, 25, 1, 2, 3, 456000, tzinfo=UTC)
    assert backups.taken_at(backups.stamp(taken)) == taken


@pytest.mark.parametrize("name", ["", "README", "20261125T010203Z", "20261332T010203.456Z"])
def test_what_else_lies_among_the_manifests_is_none(name: str) -> None:
    assert backups.taken_at(name) is None


def test_a_copy_is_of_the_point_in_time_or_of_the_end_of_its_backup() -> None:
    backup = run(1, 4, minutes=2)
    assert backups.moment_of(Target(pick="newest", backup=backup)) == backup.ended
    assert backups.moment_of(Target(pick="point_in_time", moment=NOW)) == NOW


def manifest_with_a_large_table(read: datetime) -> Manifest:
    small = TableContent(table="public.small", at=NOW - timedelta(hours=3))
    tables = (small, TableContent(table="public.large", at=read))
    return Manifest(
        database="pyplots", origin="o", taken=NOW - timedelta(hours=3), finished=read, catalogue={}, tables=tables
    )


def test_a_point_in_time_is_moved_behind_the_moment_at_which_a_large_table_was_read() -> None:
    read = NOW - timedelta(hours=2)
    window = Window(earliest=NOW - timedelta(days=7), latest=NOW)
    target = Target(pick="point_in_time", moment=NOW - timedelta(hours=3), manifest="m")
    moved, manifest = backups.comparable(target, manifest_with_a_large_table(read), state(window=window))
    assert moved is not None
    assert (moved.moment, manifest is not None) == (read + timedelta(seconds=1), True)


def test_a_backup_that_began_while_a_large_table_was_still_to_be_read_is_not_compared() -> None:
    target = Target(pick="newest", backup=run(1, hours=2), manifest="m")
    before, after = NOW - timedelta(hours=2.5), NOW - timedelta(hours=1.5)
    assert backups.comparable(target, manifest_with_a_large_table(before), state())[1] is not None
    assert backups.comparable(target, manifest_with_a_large_table(after), state())[1] is None
