"""The window and the looks, on a real PostgreSQL whose user is no superuser."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from pydantic import SecretStr

from embedded.postgres import Cluster
from embedded.unprivileged import give
from tasks.analysis.upkeep_indexes import estimated_bloat
from tasks.analysis.upkeep_plan import plan
from tasks.clients.upkeep import Upkeep
from tasks.clients.upkeep_work import Workshop
from tasks.clients.upkeep_worker import BrokenOff, skipped
from tasks.errors import Missing, NotAllowed, Refused, TransientError
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Facts
from tasks.maintenance_models import Action, Effect
from tasks.upkeep_look import _measured, refuse_unfit, see
from tasks.upkeep_oversight import PACES, Oversight
from tasks.upkeep_window import Window
from tests import planted
from tests.standby import standby_of

SLOWEST = len(PACES) - 1
GUARDS = "application_name = 'caretaker-maintenance guard'"
POLICY = MaintenancePolicy(lock_timeout_seconds=0.5)


class Kept:
    """A database whose user owns its tables and is a member of pg_monitor, unless a test says otherwise."""

    name = "app"
    maintenance = POLICY

    def __init__(self, cluster: Cluster, user: str = "keeper", database: str = "app") -> None:
        self.cluster, self.user, self.database = cluster, user, database

    @property
    def url(self) -> SecretStr:
        socket = quote(str(self.cluster.socket_dir), safe="/")
        return SecretStr(f"postgresql+psycopg://{self.user}:k@/{self.database}?host={socket}")

    def execute(self, *statements: str) -> list[Any]:
        with self.connect() as connection:
            return [connection.execute(statement) for statement in statements]

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.cluster.socket_dir), user=self.user, password="k", dbname=self.database, autocommit=True
        )

    def rows(self, statement: str) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(statement).fetchall()

    def facts(self) -> Facts:
        with Upkeep(self.url).session() as look:
            server = look.server().model_copy(update={"disk_bytes": 10 * 1024**3})
            return see(look, self, server)  # type: ignore[arg-type]

    def run(self, *actions: Action, seconds: float = 30, **options: Any) -> list[Effect]:
        effects: list[Effect] = []
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        Window(Workshop(self.url, None), POLICY, until, effects.append, **options).run(actions)
        return effects

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[psycopg.Connection[Any]]:
        """Another session, in a transaction that is open as long as the block."""
        with self.connect() as connection:
            for statement in ("BEGIN ISOLATION LEVEL REPEATABLE READ", *statements):
                connection.execute(statement)
            yield connection


def vacuum(table: str) -> Action:
    quoted = f"public.{table}"
    return Action(
        kind="vacuum", target=quoted, quoted=quoted, oid=0, table=quoted, table_oid=0, statement=f"VACUUM {quoted}",
        reasons=("dead rows",), gain="", lock="", dead=True,
    )  # fmt: skip


def reindex(index: str, table_oid: int) -> Action:
    quoted = f"public.{index}"
    return Action(
        kind="reindex", target=quoted, quoted=quoted, oid=0, table="", table_oid=table_oid,
        statement=f"REINDEX INDEX CONCURRENTLY {quoted}", reasons=("bloat",), gain="", lock="", seconds=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[Cluster]:
    made = Cluster(short_folder / "up" / "data", short_folder / "up" / "s", settings={"autovacuum": "off"})
    made.init()
    made.start()
    with made.connect() as connection:
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'k' IN ROLE pg_monitor, pg_checkpoint")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'k'")
        connection.execute("CREATE DATABASE app OWNER keeper")
    yield made
    made.stop("immediate")


@pytest.fixture(scope="module")
def kept(cluster: Cluster) -> Kept:
    found = Kept(cluster)
    found.execute(
        "CREATE TABLE large (id int PRIMARY KEY, note text)",
        "INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, 40000) i",
        "CREATE INDEX large_note ON large (note)",
        "CREATE TABLE small AS SELECT i AS id FROM generate_series(1, 100) i",
    )
    return found


@pytest.fixture(scope="module")
def loaded(short_folder: Path) -> Iterator[Kept]:
    """A server with pg_stat_statements loaded, whose versions a test chooses."""
    settings = {"shared_preload_libraries": "pg_stat_statements", "max_prepared_transactions": "1", "fsync": "off",
                "autovacuum_naptime": "1"}  # fmt: skip
    made = Cluster(short_folder / "pl" / "data", short_folder / "pl" / "s", settings=settings)
    made.init()
    made.start()
    with made.connect() as connection:
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'k' IN ROLE pg_monitor")
        connection.execute("CREATE DATABASE app OWNER keeper")
    found = Kept(made)
    found.execute("CREATE TABLE one AS SELECT 1 AS id")
    yield found
    made.stop("immediate")


@pytest.fixture
def dead(kept: Kept) -> Kept:
    """The large table with dead rows on each page."""
    kept.execute("VACUUM large", "UPDATE large SET note = md5(note) WHERE id % 2 = 0", "CHECKPOINT")
    return kept


def oid_of(kept: Kept, table: str) -> int:
    return int(kept.rows(f"SELECT '{table}'::regclass::oid::int8")[0][0])


def leftovers(kept: Kept) -> list[Any]:
    return kept.rows("SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'")


def sessions(kept: Kept) -> list[Any]:
    """Our sessions that stay: a server's process is there for a moment after its client has gone."""
    end = time.monotonic() + 3
    while True:
        found = kept.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caretaker%'")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.02)


# --- doing -----------------------------------------------------------------------------------------------------------


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


# --- not in anybody's way --------------------------------------------------------------------------------------------


def test_a_locked_table_is_left_for_later_and_nobody_waits_behind_us(dead: Kept) -> None:
    with dead.transaction("LOCK TABLE large IN ACCESS EXCLUSIVE MODE"):
        began = time.monotonic()
        (effect,) = dead.run(vacuum("large"), guarded=False)
    assert effect.ended == "postponed"
    assert "55P03" in effect.why
    assert time.monotonic() - began < 6


def test_whoever_waits_for_us_waits_no_longer_than_two_seconds(dead: Kept) -> None:
    waits: list[float] = []

    def alter() -> None:
        time.sleep(1.5)
        began = time.monotonic()
        dead.execute("ALTER TABLE large ALTER note SET STATISTICS 50")
        waits.append(time.monotonic() - began)

    other = threading.Thread(target=alter)
    other.start()
    (effect,) = dead.run(vacuum("large"), seconds=8, pace=SLOWEST)
    other.join()
    assert effect.attempts > 1 or effect.ended == "postponed"
    assert waits[0] <= 2.0


def test_the_window_has_a_hard_end(dead: Kept) -> None:
    began = time.monotonic()
    effects = dead.run(vacuum("large"), vacuum("small"), seconds=1.5, pace=SLOWEST)
    assert time.monotonic() - began < 5
    assert {effect.action.target: effect.ended for effect in effects}["public.large"] == "postponed"
    assert sessions(dead) == []


def test_a_vacuum_that_was_broken_off_has_not_worked_for_nothing(dead: Kept) -> None:
    dead.run(vacuum("large"), seconds=2.5, pace=3)
    seen = dead.rows("SELECT count(*) FROM pg_class WHERE relname = 'large' AND relallvisible > 0")
    (effect,) = dead.run(vacuum("large"))
    assert (seen, effect.ended) == ([(1,)], "done")


def test_a_session_that_the_server_ends_is_an_error_that_retrying_may_clear(kept: Kept) -> None:
    """A restart under a VACUUM failed the run: what came first was hidden by what came of it."""
    with Workshop(kept.url, None).worker() as worker:
        end = threading.Timer(0.3, lambda: kept.rows(f"SELECT pg_terminate_backend({worker.pid})"))
        end.start()
        with pytest.raises(TransientError, match=r"57P01.*retrying may clear this"):
            worker.run("SELECT pg_sleep(9)", timedelta(seconds=9), timedelta(seconds=1), 0.0, "sleeping")
        end.join()


# --- rebuilding ------------------------------------------------------------------------------------------------------


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


def test_what_somebody_vacuums_already_is_left_to_them_and_they_are_not_waited_for(dead: Kept) -> None:
    """Autovacuum is cancelled by whoever waits for it. Afterwards it is done, if anything is left to do."""
    vacuums = f"SELECT pid FROM pg_stat_progress_vacuum WHERE relid = {oid_of(dead, 'large')}"

    def other() -> None:
        with dead.connect() as connection:
            connection.execute("SET vacuum_cost_delay = 100; SET application_name = 'by hand'")
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                connection.execute("VACUUM large")

    thread = threading.Thread(target=other)
    thread.start()
    while not (found := dead.rows(vacuums)):
        time.sleep(0.02)
    began = time.monotonic()
    (effect,) = dead.run(vacuum("large"), guarded=False)
    took = time.monotonic() - began
    dead.rows(f"SELECT pg_cancel_backend({found[0][0]})")
    thread.join()
    assert (effect.ended, f"pid {found[0][0]} (client backend)" in effect.why) == ("held_back", True)
    assert took < 3


def test_what_autovacuum_is_at_needs_nobody_and_is_not_cancelled(loaded: Kept) -> None:
    slow = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
    loaded.execute(
        f"CREATE TABLE busy WITH ({slow}) AS SELECT i AS id, md5(i::text) FROM generate_series(1, 50000) i",
        "DELETE FROM busy", "SELECT pg_stat_force_next_flush()",
    )  # fmt: skip
    at_it = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'busy'::regclass"
    end = time.monotonic() + 20
    while not (found := loaded.rows(at_it)):
        assert time.monotonic() < end, "autovacuum did not come"
        time.sleep(0.1)
    (effect,) = loaded.run(vacuum("busy"), guarded=False)
    still = loaded.rows(at_it)
    loaded.execute("DROP TABLE busy")
    assert (effect.ended, "(autovacuum worker)" in effect.why) == ("skipped", True)
    assert still == found


# --- looking ---------------------------------------------------------------------------------------------------------


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
    waits: list[float] = []

    def alter() -> None:
        time.sleep(0.5)
        began = time.monotonic()
        kept.execute("BEGIN; LOCK TABLE large IN ACCESS EXCLUSIVE MODE; COMMIT")
        waits.append(time.monotonic() - began)

    other = threading.Thread(target=alter)
    large = next(table for table in kept.facts().tables if table.name == "public.large")
    with Upkeep(kept.url).session() as look, look.giving_way():
        other.start()
        found = _measured([large], lambda table: look.measure_table(table, "slow"), time.monotonic() + 30)
        other.join()
    kept.execute("DROP SCHEMA slow CASCADE")
    assert found == {large.oid: None}
    assert waits[0] < 1.5


# --- the guard -------------------------------------------------------------------------------------------------------


def test_the_guard_sees_a_replica_fall_behind_and_lets_go_when_it_has_caught_up(
    cluster: Cluster, dead: Kept, short_folder: Path
) -> None:
    shop, until = Workshop(dead.url, None), datetime.now(UTC) + timedelta(seconds=60)
    guard = Oversight(shop, POLICY, until, guarded=True, pace=0)
    with standby_of(cluster, short_folder / "sb") as standby, ThreadPoolExecutor(1) as pool, shop.worker() as worker:
        watching = pool.submit(guard.watch_over)
        guard.await_go()
        with standby.connect() as admin:
            admin.execute("SELECT pg_wal_replay_pause()")
            with guard.at_work(worker):
                dead.execute("CREATE TABLE filler AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, 10000) i")
                began = time.monotonic()
                with pytest.raises(BrokenOff):
                    worker.run("VACUUM large", timedelta(seconds=30), timedelta(seconds=1), 100.0, "vacuum of large")
            assert time.monotonic() - began < 5
            assert re.fullmatch(r"a replica is \d+ MB behind", guard.why)
            admin.execute("SELECT pg_wal_replay_resume()")
        guard.await_go()
        guard.end()
        watching.result()
    (pause,) = guard.pauses
    assert 0 < pause.seconds < 10


def test_a_guard_that_came_when_the_counters_were_just_reset_sees_the_load_that_comes(
    loaded: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.clients.upkeep_watch.CHOOSE_EVERY_SECONDS", 0)
    with loaded.cluster.connect("app") as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute("SELECT pg_stat_statements_reset()")
        with Workshop(loaded.url, "public").watch() as watch:
            watch.choose()
            before = watch.sample([]).counters or {}
            loaded.execute(*["SELECT id FROM one"] * 7)
            counters = watch.sample([]).counters or {}
        admin.execute("DROP EXTENSION pg_stat_statements")
    assert [calls for name, (calls, _) in counters.items() if name not in before] == [7]


def test_without_its_guard_nothing_goes_on_and_nothing_begins(dead: Kept) -> None:
    shop, until = Workshop(dead.url, None), datetime.now(UTC) + timedelta(seconds=30)
    guard = Oversight(shop, POLICY, until, guarded=True, pace=0)
    with ThreadPoolExecutor(1) as pool, shop.worker() as worker:
        watching = pool.submit(guard.watch_over)
        guard.await_go()
        with guard.at_work(worker):
            ended = dead.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {GUARDS}")
            with pytest.raises(BrokenOff):
                worker.run("VACUUM large", timedelta(seconds=30), timedelta(seconds=1), 100.0, "vacuum of large")
        with pytest.raises(BrokenOff, match="the guard is gone"), guard.at_work(worker):
            raise AssertionError("it began")
        with pytest.raises(TransientError):
            watching.result()
    assert ended == [(True,)]
