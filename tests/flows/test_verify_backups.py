"""The drill of a released sample: what is right passes every level, what is wrong fails, nothing stays behind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from tasks import copies
from tasks.analysis import ladder
from tests.flows.conftest import deployed
from tests.flows.drills import Drilled, touches_production
from tests.flows.steps import deploy
from tests.sample import run
from tests.stack import Stack

#: The fixture releases an estate before the first test.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def drilled(new_sample: Any, stack: Stack) -> Drilled:
    """A released sample with one night behind it."""
    ready = Drilled(deployed(new_sample("drill")), stack).prepare()
    ready.quiet_night()
    return ready


def verdicts(result: Any) -> dict[str, tuple[str, str]]:
    return {item.name: (item.verdict, item.why) for item in result.levels}


PASSED = {f"L{number}": ("passed", "") for number in range(8)}


def test_a_good_backup_passes_every_level_and_production_is_untouched(drilled: Drilled) -> None:
    before, after = [*drilled.fingerprint(), drilled.files()], drilled.newest_call()
    planned = drilled.drill(dry_run=True)
    assert (planned.verdict, drilled.writes(after)) == ("planned", [])
    result = drilled.drill(all_objects=True)
    assert verdicts(result) == PASSED
    assert (result.verdict, result.highest, result.days_since_full_pass) == ("passed", 7, 0.0)
    assert result.rto_seconds > 0
    assert 0 < result.rpo_seconds < 600
    assert result.restored_bytes > 1_000_000
    assert "USD" in result.cost
    assert drilled.leftovers() == []
    assert touches_production(drilled, drilled.writes(after)) == []
    assert [*drilled.fingerprint(), drilled.files()] == before
    said = [line.what for item in result.levels for line in item.evidence]
    assert "plots: 12 objects looked at, all of them, 0 of them wrong" in said, said
    every = "every share was looked at within the last 0.0 days"
    assert f"plots: 12 rows of the copy refer to an object; {every}" in said, said
    assert any("probe specs answered as declared" in line for line in said), said


def test_every_figure_is_in_the_ledger_and_the_page_opens_by_itself(drilled: Drilled) -> None:
    site = drilled.sample.site
    subject = f"{drilled.project}/pyplots"
    for name in (ladder.LEVEL, ladder.FULL_PASS, ladder.RTO, ladder.RPO, ladder.SIZE, ladder.RESTORED, ladder.PRICE):
        assert site.ledger.measurements(name, subject), name
    pages = site.bucket.list("reports/verify-backups/pyplots/")
    html = site.bucket.get(pages[-1]).decode()
    assert "highest level passed: L7" in html
    assert html.count("<svg") >= 4
    assert "<script" not in html


def test_a_point_in_time_is_restored_and_a_missing_object_fails_the_last_level(drilled: Drilled) -> None:
    drilled.manifest()
    drilled.execute("INSERT INTO events (kind) SELECT 'after the manifest' FROM generate_series(1, 50)")
    drilled.control.archive_log(drilled.project, drilled.database.instance)
    site = drilled.sample.site
    picture = site.bucket.get("plots/bar-grouped.svg")
    site.bucket.delete("plots/bar-grouped.svg")
    try:
        result = drilled.drill(pick="point_in_time", all_objects=True)
    finally:
        site.bucket.put("plots/bar-grouped.svg", picture)
    why = "object plots/bar-grouped.svg is missing (gs://" + site.bucket.name + ")"
    assert verdicts(result) == {**PASSED, "L7": ("failed", why)}
    assert (result.highest, result.worse) == (6, "L6 is the highest level passed, it was L7")
    assert drilled.leftovers() == []


def test_an_older_backup_is_compared_with_the_manifest_of_its_own_night(drilled: Drilled) -> None:
    drilled.execute("UPDATE specs SET title = title || '!' WHERE id = 'bar-grouped'")
    drilled.night()
    result = drilled.drill(pick="random")
    assert verdicts(result) == PASSED
    assert "(random)" in result.report


def test_a_backup_of_before_a_migration_is_proved_by_the_image_that_served_then(drilled: Drilled) -> None:
    before, site = drilled.sample.serving(), drilled.sample.site
    old = site.secrets.resolve("sync-token").version
    site.secrets.add_version("sync-token", SecretStr("another"))
    drilled.sample.variant().with_version("renamed").with_breaking_migration()
    released = deploy(drilled.sample, approve_outage=True)
    assert released.verdict == "released", released.why
    drilled.backup()
    for name in site.bucket.list("manifests/"):
        site.bucket.delete(name)
    site.secrets.disable("sync-token", old)
    result = drilled.drill(pick="random")
    said = verdicts(result)
    assert said["L6"] == ("passed", ""), said
    told = result.levels[6].evidence[-1].what
    assert f"revision {before}, which served since" in told
    assert f"SYNC_TOKEN is version {old + 1} of sync-token, its own is not enabled" in told
    assert (said["L3"][0], said["L4"][0], result.verdict) == ("not_possible", "not_possible", "incomplete"), said


def test_a_fault_of_our_own_in_one_level_fails_that_level_and_hides_no_other(
    drilled: Drilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of this program")

    monkeypatch.setattr(copies, "_check_structure", broken)
    result = drilled.drill()
    why = "the level broke off: ZeroDivisionError: a fault of this program"
    said = verdicts(result)
    assert (result.verdict, said["L5"], said["L6"]) == ("failed", ("failed", why), ("passed", "")), said
    assert drilled.leftovers() == []
    measured = drilled.sample.site.ledger.measurements(ladder.LEVEL, f"{drilled.project}/pyplots")
    assert measured[-1].at == result.started


def test_a_second_drill_of_the_same_database_is_refused_while_one_is_at_work(drilled: Drilled) -> None:
    from tasks.errors import Conflict

    with drilled.sample.site.ledger.lock(f"{drilled.project}/drill/pyplots", holder="somebody"), pytest.raises(
        Conflict, match="somebody"
    ):
        drilled.drill()


def test_what_a_killed_drill_left_is_swept_and_nothing_without_our_label(drilled: Drilled) -> None:
    from tasks.analysis import drills
    from tasks.scratch_removal import NOTES, sweep

    site, marks = drilled.sample.site, drills.labels("pyplots", datetime.now(UTC))
    stranger = site.scratch.create_instance("drill-stranger", "db-f1-micro", {"team": "other"}, "POSTGRES_18")
    window = site.scratch.backup_state(drilled.database.instance).window
    assert window is not None
    # A run that was killed right after it had asked for the clone: it bears no label yet, but a note names it.
    site.bucket.put(f"{NOTES}/drill-clone.json", b'{"database": "pyplots"}')
    site.scratch.clone_to(drilled.database.instance, "drill-clone", window.latest)
    site.temporary_secrets.put_temporary("drill-secret", SecretStr("x"), marks, drills.EXPIRES_AFTER)
    site.scratch.wait_operation(stranger)
    assert set(run(sweep.fn(site, drilled.database))) == {"drill-clone", "drill-secret"}
    assert drilled.leftovers() == ["drill-stranger"]
    site.scratch.delete_instance("drill-stranger")
