from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy

from embedded import unprivileged as ways
from embedded.ports import free_port
from embedded.postgres import Cluster, PostgresError, unprivileged
from embedded.postmaster import Postmaster

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another way to run PostgreSQL")


@pytest.fixture
def folder(short_folder: Path) -> Path:
    """A folder of this test alone, with a path short enough for a socket."""
    made = short_folder / os.urandom(4).hex()
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def shared(short_folder: Path) -> Iterator[Cluster]:
    """A running cluster with a TCP port, for tests that leave it running."""
    cluster = Cluster(short_folder / "pg" / "data", short_folder / "pg" / "s", port=free_port())
    cluster.init()
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def template(short_folder: Path) -> Path:
    """The folder of a cluster that never ran, for copies."""
    cluster = Cluster(short_folder / "pg-template" / "data", short_folder / "pg-template" / "s")
    cluster.init()
    return cluster.data.parent


@pytest.fixture
def own(folder: Path, template: Path) -> Iterator[Cluster]:
    """A cluster that is not running, which the test may kill."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    cluster = Cluster(folder / "data", folder / "s")
    ways.give(cluster.data)
    yield cluster
    cluster.stop("immediate")


def postmaster(cluster: Cluster) -> Postmaster:
    found = Postmaster.read(cluster.data)
    assert found is not None
    assert found.alive()
    return found


def rows(cluster: Cluster, statement: str) -> list:
    with cluster.connect() as connection:
        return connection.execute(statement).fetchall()


def kill_postmaster(cluster: Cluster) -> None:
    process = psutil.Process(postmaster(cluster).pid)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_nothing_committed_is_lost_when_the_postmaster_is_killed(own: Cluster):
    own.start()
    with own.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    kill_postmaster(own)
    assert not own.running()
    own.start()
    assert rows(own, "SELECT count(*) FROM kept") == [(1000,)]


def test_a_postmaster_that_outlived_its_starter_is_adopted(own: Cluster):
    script = (
        "import os, sys; from pathlib import Path; from embedded.postgres import Cluster\n"
        "Cluster(Path(sys.argv[1]), Path(sys.argv[2])).start(); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", script, own.data, own.socket_dir], check=False)
    assert ended.returncode == -signal.SIGKILL
    before = postmaster(own)
    own.start()
    assert postmaster(own).pid == before.pid
    own.stop()
    assert not own.running()
    assert not before.alive()


def test_a_number_recycled_by_another_program_is_not_taken_for_the_postmaster(own: Cluster):
    own.start()
    file = own.data / "postmaster.pid"
    left = file.read_text().split("\n")
    kill_postmaster(own)
    with subprocess.Popen(unprivileged(["sleep", "60"])) as other:
        file.write_text("\n".join([str(other.pid), *left[1:]]))
        own.start()
        assert rows(own, "SELECT 1") == [(1,)]
        own.stop()
        assert other.poll() is None
        other.kill()


def test_a_server_whose_socket_was_swept_away_is_started_anew(own: Cluster):
    own.start()
    own.socket.unlink()
    own.start()
    assert rows(own, "SELECT 1") == [(1,)]


def test_a_running_server_is_told_from_a_stopped_one(own: Cluster):
    assert not own.running()
    own.start()
    assert own.running()
    own.stop()
    assert not own.running()
    own.stop()


def test_every_role_needs_its_password_and_the_superuser_too(shared: Cluster):
    for place in ({"host": str(shared.socket_dir)}, {"host": "127.0.0.1"}):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**{**shared.conninfo(), **place, "password": "wrong"})
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(**{**shared.conninfo(), **place, "password": None}, passfile="/nowhere")


def test_the_superusers_password_is_readable_by_its_owner_alone(shared: Cluster):
    assert stat.S_IMODE(shared.password_file.stat().st_mode) == 0o600
    assert len(shared.password()) >= 20


def test_the_url_serves_sqlalchemy_and_asyncpg(shared: Cluster):
    shared.create_database("ledger")
    shared.create_database("ledger")
    engine = sqlalchemy.create_engine(shared.url("ledger"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT current_database()")).scalar() == "ledger"
    engine.dispose()
    assert shared.url("ledger", "asyncpg").startswith("postgresql+asyncpg://postgres:")
    assert shared.url("ledger", "asyncpg").endswith(f"@127.0.0.1:{shared.port}/ledger")


def test_the_url_of_a_cluster_without_a_port_names_its_socket(own: Cluster):
    own.start()
    engine = sqlalchemy.create_engine(own.url("postgres"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_nothing_that_is_acknowledged_waits_for_the_disk_later(shared: Cluster):
    assert rows(shared, "SHOW fsync") == [("on",)]
    assert rows(shared, "SHOW synchronous_commit") == [("on",)]


def test_a_physical_backup_can_be_started_with_the_same_password(shared: Cluster, folder: Path):
    with shared.connect() as connection:
        connection.execute("CREATE TABLE copied AS SELECT 42 AS n")
    shared.copy_to(folder / "data")
    copy = Cluster(folder / "data", folder / "s")
    copy.start()
    try:
        assert rows(copy, "SELECT n FROM copied") == [(42,)]
    finally:
        copy.stop()


def test_a_failing_program_is_told_in_one_line(shared: Cluster):
    with pytest.raises(PostgresError) as told:
        shared.run("pg_basebackup", ["--pgdata=/proc/nowhere"])
    assert "pg_basebackup failed with status 1" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_socket_path_that_is_too_long_is_refused_before_anything_is_made(folder: Path):
    cluster = Cluster(folder / "data", folder / ("x" * 90))
    with pytest.raises(PostgresError, match="is the most; shorten it"):
        cluster.init()
    assert not cluster.data.exists()


def test_a_port_in_use_is_told(shared: Cluster, folder: Path):
    cluster = Cluster(folder / "data", folder / "s", port=shared.port)
    cluster.init()
    with pytest.raises(PostgresError, match=f"port {shared.port} on 127.0.0.1 is in use"):
        cluster.start()


def test_a_server_that_does_not_start_gives_its_own_reason(own: Cluster):
    own.settings["shared_buffers"] = "not a size"
    begun = time.monotonic()
    with pytest.raises(PostgresError, match="shared_buffers"):
        own.start()
    assert time.monotonic() - begun < 5


def test_a_half_made_data_directory_of_a_killed_process_is_not_taken_for_whole(folder: Path):
    cluster = Cluster(folder / "data", folder / "s")
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from embedded.postgres import Cluster\n"
         "Cluster(Path(sys.argv[1]), Path(sys.argv[2])).init()", cluster.data, cluster.socket_dir],
    )  # fmt: skip
    while not list(folder.glob("data.*")) and child.poll() is None:
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert not cluster.data.exists()
    cluster.init()
    cluster.start()
    assert cluster.running()
    cluster.stop()


def test_statements_of_the_superuser_are_never_in_the_log(shared: Cluster):
    with shared.connect() as connection, pytest.raises(psycopg.errors.UndefinedObject):
        connection.execute("ALTER ROLE nobody_at_all PASSWORD 'very-secret'")
    assert "very-secret" not in shared.log.read_text()
    assert "nobody_at_all" in shared.log.read_text()


@needs_root
def test_root_runs_it_as_another_user_and_keeps_the_process_id():
    child = subprocess.Popen(unprivileged(["sh", "-c", "echo $$ $(id -u)"]), stdout=subprocess.PIPE, text=True)
    said = child.communicate()[0].split()
    assert said[0] == str(child.pid)
    assert said[1] != "0"


@needs_root
def test_an_account_serves_where_user_namespaces_are_forbidden(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ways, "NAMESPACE", ("false",))
    monkeypatch.setattr(ways, "way", ways.way.__wrapped__)
    assert ways.way() == "account"
    folder.chmod(0o700)
    cluster = Cluster(folder / "data", folder / "s")
    cluster.init()
    cluster.start()
    try:
        assert rows(cluster, "SELECT 1") == [(1,)]
        assert psutil.Process(postmaster(cluster).pid).uids().effective != 0
    finally:
        cluster.stop()


@needs_root
def test_where_there_is_no_way_it_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ways, "_works", lambda prefix: False)
    with pytest.raises(ways.CannotRun, match="run as an ordinary user instead") as told:
        ways.way.__wrapped__()
    assert "\n" not in str(told.value)
