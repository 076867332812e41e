"""What is looked at, and what is said where it cannot be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded.postgres import Cluster
from embedded.unprivileged import give
from tasks.analysis.upkeep_indexes import estimated_bloat
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep import Upkeep
from tasks.errors import Missing, NotAllowed, Refused
from tasks.upkeep_look import refuse_unfit
from tests.tasks.upkeep.kept import POLICY, Kept


def test_a_plan_of_a_fresh_database_names_what_was_never_analyzed(kept: Kept) -> None:
    kept.execute("CREATE TABLE fresh AS SELECT i AS id FROM generate_series(1, 5000) i")
    found = plan("app", kept.facts(), POLICY)
    assert "public.fresh" in {action.target for action in found.actions}


def test_what_is_not_seen_for_want_of_a_right_is_said(cluster: Cluster, kept: Kept) -> None:
    kept.execute("GRANT MAINTAIN ON large TO plain")
    said = {one.way_out for one in Kept(cluster, "plain").facts().missing}
    assert {"GRANT pg_monitor TO plain", "CREATE EXTENSION pg_stat_statements"} <= said
    assert any("MAINTAIN" in way_out for way_out in said)


def test_a_user_who_may_vacuum_nothing_is_told_the_grant(cluster: Cluster, kept: Kept) -> None:
    kept.execute("REVOKE MAINTAIN ON large FROM plain")
    with pytest.raises(NotAllowed, match="GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO plain"):
        Kept(cluster, "plain").facts()


def test_a_database_without_a_table_is_told(cluster: Cluster) -> None:
    with pytest.raises(Missing, match="sees no table; deploy the application first"):
        Kept(cluster, "keeper", "postgres").facts()


def test_a_read_only_database_is_refused(cluster: Cluster) -> None:
    with cluster.connect() as admin:
        admin.execute("CREATE DATABASE quiet OWNER keeper")
        admin.execute("ALTER DATABASE quiet SET default_transaction_read_only = on")
    with Upkeep(Kept(cluster, "keeper", "quiet").url).session() as look:
        server = look.server()
    with pytest.raises(Refused, match="is read-only"):
        refuse_unfit(server, "app", "db")


def test_a_server_in_recovery_is_refused_and_so_is_a_replica_whose_primary_is_gone(
    cluster: Cluster, short_folder: Path
) -> None:
    folder, found = short_folder / "re", []
    folder.mkdir()
    cluster.copy_to(folder / "data")
    (folder / "data" / "standby.signal").touch()
    give(folder / "data")
    for settings in ({}, {"primary_conninfo": "host=/nowhere"}):
        copy = Cluster(folder / "data", folder / "s", settings=settings)
        copy.start()
        try:
            with Upkeep(Kept(copy).url).session() as look:
                found.append(look.server())
        finally:
            copy.stop("immediate")
    for server, words in zip(found, ("is in recovery; wait until it is over", "is a read-only replica"), strict=True):
        with pytest.raises(Refused, match=words):
            refuse_unfit(server, "app", "db")


def test_what_statistics_hide_or_do_not_know_is_no_need(kept: Kept) -> None:
    """Row security hides them from its owner too, and an index on an expression has none until it is analyzed."""
    kept.execute(
        "CREATE TABLE hidden AS SELECT i AS id, repeat(md5(i::text), 6) AS note FROM generate_series(1, 8000) i",
        "SELECT pg_stat_force_next_flush()", "VACUUM ANALYZE hidden",
        "CREATE INDEX hidden_note ON hidden (upper(note))",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "ALTER TABLE hidden FORCE ROW LEVEL SECURITY",
    )  # fmt: skip
    found = kept.facts()
    kept.execute("DROP TABLE hidden")
    (index,) = [one for one in found.indexes if one.name == "public.hidden_note"]
    assert (index.bytes > 1_500_000, estimated_bloat(index)) == (True, None)
    assert [action.target for action in plan("app", found, POLICY).actions if "hidden" in action.target] == []


def test_a_server_older_than_the_views_that_are_read_is_refused_and_the_oldest_is_not(kept: Kept) -> None:
    with Upkeep(kept.url).session() as look:
        server = look.server()
    refuse_unfit(server.model_copy(update={"version": 140_000}), "app", "db")
    with pytest.raises(Refused, match="db runs PostgreSQL 13, and the oldest that is known here is 14; upgrade it"):
        refuse_unfit(server.model_copy(update={"version": 130_023}), "app", "db")
