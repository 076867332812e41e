"""The window does what it was given, and tells how each action ended."""

from __future__ import annotations

import pytest

from embedded.postgres import Cluster
from tasks.clients.upkeep_worker import skipped
from tests import planted
from tests.tasks.upkeep.kept import Kept, sessions, vacuum


def test_a_vacuum_is_measured_before_and_after_by_looking(dead: Kept) -> None:
    (effect,) = dead.run(vacuum("large"))
    assert effect.ended == "done"
    assert effect.before["dead_rows"] >= 20_000
    assert effect.after["dead_rows"] == 0
    assert sessions(dead) == []


def test_a_warning_that_a_table_may_not_be_vacuumed_is_understood(cluster: Cluster, dead: Kept) -> None:
    cluster_admin = cluster.connect("app")
    with cluster_admin:
        cluster_admin.execute("CREATE TABLE theirs (id int); GRANT SELECT ON theirs TO plain")
    cluster_admin.close()
    (effect,) = Kept(cluster, "plain").run(vacuum("theirs"))
    assert (effect.ended, "permission denied to vacuum" in effect.why) == ("skipped", True)


@pytest.mark.parametrize(
    "warning",
    [
        'skipping "t" --- only table or database owner can vacuum it', 'permission denied to vacuum "t", skipping it',
        'permission denied to analyze "t", skipping it', 'skipping vacuum of "t" --- lock not available',
        'skipping "t" --- only superuser can analyze it',
    ],
)  # fmt: skip
def test_the_warnings_of_every_release_are_understood(warning: str) -> None:
    assert skipped(["oldest xmin is far in the past", warning]) == warning


def test_another_warning_is_no_failure() -> None:
    assert skipped(["oldest xmin is far in the past"]) == ""


def test_a_table_that_is_gone_is_skipped_and_the_rest_is_done(dead: Kept) -> None:
    ended = {effect.action.target: effect.ended for effect in dead.run(vacuum("never_there"), vacuum("large"))}
    assert ended == {"public.never_there": "skipped", "public.large": "done"}


def test_what_an_older_transaction_still_sees_is_told_as_held_back(kept: Kept) -> None:
    kept.execute("VACUUM large")
    with kept.transaction("SELECT count(*) FROM large"):
        kept.execute("UPDATE large SET note = md5(note) WHERE id % 2 = 0")
        (effect,) = kept.run(vacuum("large"), guarded=False)
    assert (effect.ended, "still seen" in effect.why) == ("held_back", True)


def test_only_the_very_transaction_that_held_rows_back_keeps_us_from_trying(dead: Kept) -> None:
    with dead.transaction("SELECT count(*) FROM small") as reader:
        pid = reader.info.backend_pid
        (since,) = dead.rows(f"SELECT xact_start FROM pg_stat_activity WHERE pid = {pid}")[0]
        held = {"held_by": f"session pid {pid}", "held_pid": pid, "held_since": since}
        (still,) = dead.run(vacuum("small").model_copy(update=held), guarded=False)
        reader.execute("COMMIT")
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM small")
        (another,) = dead.run(vacuum("small").model_copy(update=held), guarded=False)
    assert (still.ended, another.ended) == ("held_back", "done")


def test_the_database_learns_its_oldest_table_once_all_are_done(cluster: Cluster, dead: Kept) -> None:
    """By a user who owns nothing and may maintain the table: the statement needs no right."""
    with cluster.connect("app") as admin:
        planted.burn(admin, 500)
        admin.execute("VACUUM (FREEZE, SKIP_DATABASE_STATS)")
        admin.execute("GRANT MAINTAIN ON small TO plain")
    age = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = 'app'"
    before = dead.rows(age)[0][0]
    skips = {"statement": "VACUUM (SKIP_DATABASE_STATS) public.small"}
    (effect,) = Kept(cluster, "plain").run(vacuum("small").model_copy(update=skips), guarded=False)
    dead.execute("REVOKE MAINTAIN ON small FROM plain")
    assert effect.ended == "done"
    assert dead.rows(age)[0][0] < 500 <= before


def test_the_limits_of_the_applications_sessions_do_not_end_a_vacuum(dead: Kept) -> None:
    limits = ("transaction_timeout", "idle_session_timeout")
    dead.execute(*(f"ALTER ROLE keeper SET {name} = '200ms'" for name in limits))
    try:
        (effect,) = dead.run(vacuum("large"), guarded=False, pace=2)
    finally:
        dead.execute(*(f"ALTER ROLE keeper RESET {name}" for name in limits))
    assert effect.ended == "done"
    assert effect.seconds > 0.4, "longer than the limits"
