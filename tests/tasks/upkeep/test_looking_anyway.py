"""A look that nothing keeps from looking: locks, old extensions, missing rights."""

from __future__ import annotations

import time

import pytest

from embedded.postgres import Cluster
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep import Upkeep
from tasks.upkeep_look import _measured
from tests.tasks.upkeep.kept import POLICY, Kept


def test_a_table_that_somebody_has_locked_for_an_hour_keeps_nobody_from_looking(kept: Kept) -> None:
    """With an index on an expression, and a sequence that is altered with it."""
    kept.execute(
        "CREATE TABLE altered (id int GENERATED ALWAYS AS IDENTITY, note text)",
        "CREATE INDEX altered_a ON altered (lower(note)) WHERE note <> 'x'",
        "CREATE INDEX altered_b ON altered (lower( note ))  WHERE  note <> 'x'", "INSERT INTO altered DEFAULT VALUES",
    )
    with kept.transaction("ALTER TABLE altered ALTER id TYPE bigint"):
        began = time.monotonic()
        found = kept.facts()
        assert time.monotonic() - began < 4
    kept.execute("DROP TABLE altered")
    (said,) = [one for one in found.missing if "sequence" in one.what]
    assert (said.subject, said.what) == ("public.altered_id_seq", "1 sequence not seen: somebody has locked it")
    doubles = [one.subject for one in plan("app", found, POLICY).advice if one.kind == "duplicate index"]
    assert doubles == ["public.altered_b"]


def test_sequences_are_seen_however_they_count_and_whoever_owns_them(cluster: Cluster, kept: Kept) -> None:
    with cluster.connect("app") as admin:
        admin.execute("CREATE SEQUENCE not_ours")
    kept.execute(
        "CREATE SEQUENCE down INCREMENT -1 MINVALUE 1 MAXVALUE 1000 START 1000",
        "SELECT nextval('down') FROM generate_series(1, 950)", "CREATE SEQUENCE bottom INCREMENT -1 START -5",
        "SELECT nextval('bottom')", "CREATE TABLE narrow (id int PRIMARY KEY, small int2)", "CREATE SEQUENCE wide",
        "ALTER TABLE narrow ALTER id SET DEFAULT nextval('wide')", "SELECT setval('wide', 2040000000)",
        "CREATE SEQUENCE tiny OWNED BY narrow.small", "SELECT setval('tiny', 30000)", "CREATE SEQUENCE never_used",
    )  # fmt: skip
    found = kept.facts()
    seen = {one.name.removeprefix("public."): (round(one.used_percent), one.why_limit) for one in found.sequences}
    kept.execute("DROP SEQUENCE down, bottom", "DROP TABLE narrow", "DROP SEQUENCE wide")
    assert seen == {"down": (95, ""), "bottom": (0, ""), "wide": (95, "narrow.id"), "tiny": (92, "narrow.small")}
    (said,) = [one for one in found.missing if "sequence" in one.what]
    assert (said.subject, said.what) == ("public.not_ours", "1 sequence not seen: no right to read it")


@pytest.mark.parametrize(
    ("version", "way_out"),
    [("1.12", ""), ("1.10", ""), ("1.8", "ALTER EXTENSION pg_stat_statements UPDATE"),
     ("1.7", "ALTER EXTENSION pg_stat_statements UPDATE")],
)  # fmt: skip
def test_statements_are_read_of_every_version_that_has_them_and_of_an_older_one_the_way_out_is_told(
    loaded: Kept, version: str, way_out: str
) -> None:
    """A server's upgrade leaves an extension at its version."""
    with loaded.cluster.connect("app") as admin:
        admin.execute(f"CREATE EXTENSION pg_stat_statements VERSION '{version}'")
        found = loaded.facts()
        admin.execute("DROP EXTENSION pg_stat_statements")
    assert (found.statements is None) is bool(way_out)
    assert [one.way_out for one in found.missing if one.subject == "pg_stat_statements"] == [way_out] * bool(way_out)


def test_an_extension_that_is_not_loaded_or_in_a_schema_of_any_name_keeps_nobody_from_looking(
    cluster: Cluster, kept: Kept
) -> None:
    with cluster.connect("app") as admin:
        admin.execute('CREATE SCHEMA "Other :one"; GRANT USAGE ON SCHEMA "Other :one" TO keeper')
        admin.execute('CREATE EXTENSION pgstattuple SCHEMA "Other :one"')
        admin.execute('CREATE EXTENSION pg_stat_statements SCHEMA "Other :one"')
        found = kept.facts()
        with Upkeep(kept.url).session() as look:
            large = next(table for table in found.tables if table.name == "public.large")
            schema = look.pgstattuple() or ""
            assert (look.measure_table(large, schema) or -1) > 0
            (key,) = [index for index in found.indexes if index.name == "public.large_pkey"]
            assert (look.measure_index(key, schema) or -1) > 0
            gone = {"oid": 2**32 - 1}
            assert look.measure_table(large.model_copy(update=gone), schema) is None, "dropped since it was listed"
            assert look.measure_index(key.model_copy(update=gone), schema) is None
        admin.execute('DROP SCHEMA "Other :one" CASCADE')
    assert "add pg_stat_statements to shared_preload_libraries, and restart" in {one.way_out for one in found.missing}


def test_a_user_who_sees_statistics_and_not_the_log_is_told_the_grant(cluster: Cluster, kept: Kept) -> None:
    with cluster.connect("app") as admin:
        admin.execute("CREATE ROLE reader LOGIN PASSWORD 'k' IN ROLE pg_read_all_stats")
        admin.execute("GRANT MAINTAIN ON large TO reader")
    found = Kept(cluster, "reader").facts()
    kept.execute("REVOKE MAINTAIN ON large FROM reader")
    assert found.server.used_bytes is None
    assert "GRANT pg_monitor TO reader" in {one.way_out for one in found.missing}


SLOW = """
CREATE SCHEMA slow;
CREATE FUNCTION slow.pgstattuple_approx(regclass, OUT dead_tuple_count int8, OUT approx_free_percent float8,
                                        OUT dead_tuple_percent float8) LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'SELECT count(*) FROM ' || $1 INTO dead_tuple_count; PERFORM pg_sleep(20); END $$
"""


def test_whoever_wants_to_change_a_table_that_is_measured_waits_for_no_measurement(kept: Kept) -> None:
    """The measurement is one that reads for twenty seconds. What it would have told is estimated."""
    kept.execute(SLOW)
    locks = "BEGIN; LOCK TABLE large IN ACCESS EXCLUSIVE MODE; COMMIT"
    large = next(table for table in kept.facts().tables if table.name == "public.large")
    with Upkeep(kept.url).session() as look, look.giving_way(), kept.somebody(0.5, locks) as waits:
        found = _measured([large], lambda table: look.measure_table(table, "slow"), time.monotonic() + 30)
    kept.execute("DROP SCHEMA slow CASCADE")
    assert found == {large.oid: None}
    assert waits[0] < 1.5
