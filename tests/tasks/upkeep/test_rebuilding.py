"""Rebuilds: what they make small, what they leave alone, what they leave behind."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from embedded.postgres import Cluster
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep_work import Workshop
from tests.tasks.upkeep.kept import POLICY, Kept, leftovers, oid_of, reindex


def test_a_rebuild_makes_a_bloated_index_small_again(kept: Kept) -> None:
    for _ in range(2):
        kept.execute("UPDATE large SET note = md5(note)", "VACUUM large")
    (effect,) = kept.run(reindex("large_note", oid_of(kept, "large")))
    assert effect.ended == "done"
    assert effect.after["bytes"] < 0.7 * effect.before["bytes"]
    assert leftovers(kept) == []


def test_a_rebuild_that_the_window_breaks_off_leaves_nothing(kept: Kept) -> None:
    """It waits for a transaction that has written elsewhere, so that the leftover can be dropped at once."""
    with kept.transaction("INSERT INTO small VALUES (0)"):
        (effect,) = kept.run(reindex("large_note", oid_of(kept, "large")), seconds=2, guarded=False)
    assert effect.ended in ("postponed", "done")
    assert leftovers(kept) == []


def test_a_rebuild_is_not_begun_while_an_old_transaction_is_open(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.upkeep_window.OLDER", timedelta(0))
    with kept.transaction("SELECT count(*) FROM small") as reader:
        (effect,) = kept.run(reindex("large_note", oid_of(kept, "large")), guarded=False)
        assert f"pid {reader.info.backend_pid}" in effect.why
    assert effect.ended == "held_back"


def test_a_rebuild_is_not_begun_while_an_idle_transaction_has_written_to_the_table(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At READ COMMITTED it has no snapshot, and its lock is waited for all the same."""
    monkeypatch.setattr("tasks.upkeep_window.OLDER", timedelta(0))
    with kept.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("UPDATE large SET note = note WHERE id = 1")
        (effect,) = kept.run(reindex("large_note", oid_of(kept, "large")), guarded=False)
        assert f"pid {writer.info.backend_pid}" in effect.why
        with Workshop(kept.url, None).worker() as worker:
            elsewhere = worker.in_the_way(reindex("none", oid_of(kept, "small")), [], timedelta(0))
        writer.execute("ROLLBACK")
    assert (effect.ended, elsewhere) == ("held_back", [])


def test_whoever_may_maintain_and_owns_nothing_rebuilds_nothing_and_is_told_why(cluster: Cluster, kept: Kept) -> None:
    """A rebuild of theirs that is broken off would leave an index that they cannot drop."""
    break_a_rebuild_off(kept, "large_note")
    with cluster.connect("app") as admin:
        admin.execute("CREATE ROLE helper LOGIN PASSWORD 'k' IN ROLE pg_monitor, pg_maintain")
    helper = Kept(cluster, "helper")
    found = helper.facts()
    with Workshop(helper.url, None).worker() as worker:
        gone, left = worker.drop_leftovers(oid_of(kept, "large"), timedelta(seconds=1))
    with Workshop(kept.url, None).worker() as worker:
        assert worker.drop_leftovers(oid_of(kept, "large"), timedelta(seconds=1)) == (["public.large_note_ccnew"], [])
    assert [action for action in plan("app", found, POLICY).actions if not action.light] == []
    assert "GRANT <the tables' owner> TO helper" in "".join(one.way_out for one in found.missing)
    assert (gone, len(left)) == ([], 1)
    assert "must be owner" in left[0]


def test_a_leftover_that_somebody_has_made_valid_since_it_was_approved_stays(kept: Kept) -> None:
    break_a_rebuild_off(kept, "large_note")
    (drop,) = [action for action in plan("app", kept.facts(), POLICY).heavy if action.kind == "drop_leftover"]
    kept.execute("REINDEX INDEX large_note_ccnew")
    (effect,) = kept.run(drop, guarded=False)
    assert (effect.ended, leftovers(kept)) == ("skipped", [("large_note_ccnew",)])
    kept.execute("DROP INDEX large_note_ccnew")


def test_an_exclusion_constraint_is_not_rebuilt(kept: Kept) -> None:
    kept.execute(
        "CREATE TABLE ruled (note text, EXCLUDE USING btree (note WITH =))",
        "INSERT INTO ruled SELECT md5(i::text) || md5(i::text) FROM generate_series(1, 30000) i",
        "DELETE FROM ruled WHERE note > '1'", "VACUUM ANALYZE ruled",
    )  # fmt: skip
    found = kept.facts()
    kept.execute("DROP TABLE ruled")
    assert [action.target for action in plan("app", found, POLICY).heavy if "ruled" in action.target] == []
    assert [one.subject for one in found.missing if "exclusion" in one.what] == ["public.ruled_note_excl"]


def break_a_rebuild_off(kept: Kept, index: str) -> None:
    with kept.transaction("INSERT INTO small VALUES (0)"), kept.connect() as other:
        other.execute("SET lock_timeout = 200")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(f"REINDEX INDEX CONCURRENTLY {index}")


def test_a_rebuild_is_not_begun_while_an_idle_transaction_has_only_read_the_table(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At READ COMMITTED it has no snapshot; the rebuild would wait for it once all is built, and leave an index."""
    monkeypatch.setattr("tasks.upkeep_window.OLDER", timedelta(0))
    with kept.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM large")
        (effect,) = kept.run(reindex("large_note", oid_of(kept, "large")), seconds=4, guarded=False)
        assert f"pid {reader.info.backend_pid}" in effect.why
        reader.execute("ROLLBACK")
    assert (effect.ended, leftovers(kept)) == ("held_back", [])


def test_a_rebuild_is_not_begun_while_a_prepared_transaction_has_the_table(
    loaded: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.upkeep_window.OLDER", timedelta(0))
    loaded.execute("CREATE TABLE doubted (id int PRIMARY KEY)")
    with loaded.connect() as writer:
        for statement in ("BEGIN", "INSERT INTO doubted VALUES (1)", "PREPARE TRANSACTION 'two phases'"):
            writer.execute(statement)
        (effect,) = loaded.run(reindex("doubted_pkey", oid_of(loaded, "doubted")), seconds=4, guarded=False)
        writer.execute("ROLLBACK PREPARED 'two phases'")
    assert (effect.ended, leftovers(loaded)) == ("held_back", [])
    assert "transaction two phases (keeper, prepared) since" in effect.why
