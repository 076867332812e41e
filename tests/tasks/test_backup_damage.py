"""Every kind of damage is found by the level that is meant to find it; a copy that is right passes them all.

A plain PostgreSQL stands for the restored instance; each case damages a database of its own, copied from a good one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from embedded.postgres import Cluster
from tasks.backup_models import LevelResult, Manifest, Restored, Target
from tasks.clients.heartbeat import beat
from tasks.copies import _check_content, _check_schema, _check_structure
from tasks.estate import Database
from tasks.estate.drills import ManifestPolicy, TableRule
from tasks.manifests import _content
from tasks.models import Backup
from tasks.scratch import Copy
from tests.damages import CONTENT, DAMAGES, ROLES, Damage
from tests.tasks.clients.conftest import cluster

__all__ = ["cluster"]

ORIGIN = "pyplots:europe-west4:pyplots-db/pyplots"
RULES = ManifestPolicy(tables=(TableRule(table="events", compare="grows", key="id"),))
DATABASE = Database.model_validate(
    {
        "name": "pyplots", "instance": "pyplots-db", "database": "pyplots", "owner": "owner", "users": ("a",),
        "url_secret": "url", "must_not_be_empty": ("specs", "events"), "manifest": RULES,
    }
)  # fmt: skip
#: A database in which all is well, its manifest, and what stands for the backup that was taken afterwards.
Good = tuple[str, Manifest, Target]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def good(cluster: Cluster) -> Iterator[Good]:
    """A database in which all is well, its manifest, and what stands for the backup that was taken afterwards."""
    name = "good"
    cluster.create_database(name)
    with cluster.connect(name) as connection:
        for statement in (*ROLES, *CONTENT):
            connection.execute(statement)
    beat(SecretStr(cluster.url(name)), ORIGIN)
    copy = copy_of(cluster, name)
    with copy.inspector.session(snapshot=True) as session:
        taken = session.now()
        manifest = Manifest(
            database="pyplots", origin=ORIGIN, taken=taken, finished=taken, catalogue=session.catalogue(),
            tables=tuple(_content(session, table, DATABASE) for table in session.tables()),
            heartbeat=session.heartbeat().at, size_bytes=session.size_bytes(),
        )  # fmt: skip
    backup = Backup(
        id=1, instance="pyplots-db", status="SUCCESSFUL", kind="AUTOMATED", started=taken, ended=datetime.now(UTC)
    )
    yield name, manifest, Target(pick="newest", backup=backup)
    with cluster.connect("postgres") as connection:
        connection.execute("DROP DATABASE good WITH (FORCE)")
        for role in ("reader", "auditor"):
            connection.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def damaged(cluster: Cluster, good: Good) -> Iterator[str]:
    """A database to damage, copied file by file: none of its pages is in memory yet."""
    name = f"copy_{next(_numbers)}"
    with cluster.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {good[0]} STRATEGY file_copy")
    yield name
    with cluster.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def copy_of(cluster: Cluster, name: str) -> Copy:
    url = SecretStr(cluster.url(name))
    return Copy(Restored(instance=name, connection_name="c", tier="db-f1-micro", seconds=1), url, url, "postgres")


def looked_at(cluster: Cluster, name: str, good: Good) -> dict[int, LevelResult]:
    _, manifest, target = good
    copy = copy_of(cluster, name)
    third = _check_schema(copy, manifest.catalogue)
    fourth, _ = _check_content(copy, DATABASE, manifest, target)
    return {3: third, 4: fourth, 5: _check_structure(copy, DATABASE)}


def damage(cluster: Cluster, name: str, what: Damage) -> None:
    with cluster.connect(name) as connection:
        connection.execute("SET allow_system_table_mods = on")
        for statement in what.sql:
            connection.execute(statement)
        if what.page is not None:
            found: Any = connection.execute("SELECT pg_relation_filepath(%s::regclass)", (what.relation,)).fetchone()
            what.page(cluster.data / Path(found[0]))


def test_a_copy_that_is_right_passes_every_level(cluster: Cluster, good: Good, damaged: str) -> None:
    levels = looked_at(cluster, damaged, good)
    assert [(level.verdict, level.why) for level in levels.values()] == [("passed", "")] * 3
    assert any("amcheck finds nothing" in line.what for line in levels[5].evidence)


def test_rows_added_to_a_growing_table_after_the_manifest_are_no_damage(
    cluster: Cluster, good: Good, damaged: str
) -> None:
    with cluster.connect(damaged) as connection:
        connection.execute("INSERT INTO events (spec) SELECT 'spec-1' FROM generate_series(1, 500)")
    assert looked_at(cluster, damaged, good)[4].verdict == "passed"


@pytest.mark.parametrize("what", DAMAGES, ids=str)
def test_damage_is_found_at_the_right_level(
    cluster: Cluster, good: Good, damaged: str, what: Damage
) -> None:
    damage(cluster, damaged, what)
    try:
        levels = looked_at(cluster, damaged, good)
    finally:
        with cluster.connect("postgres") as connection:
            for statement in what.undo:
                connection.execute(statement)
    failed = [number for number, level in levels.items() if level.verdict != "passed"]
    assert failed[:1] == [what.level], {n: level.why for n, level in levels.items()}
    assert set(what.also) <= set(failed)
    said = [line.what for line in levels[what.level].evidence if not line.ok]
    assert any(what.says in line for line in said), said


def test_without_the_right_to_run_amcheck_the_level_is_not_possible_and_says_why(
    cluster: Cluster, good: Good, damaged: str
) -> None:
    with cluster.connect(damaged) as connection:
        connection.execute("CREATE EXTENSION amcheck")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        connection.execute("GRANT pg_read_all_data TO plain")
    try:
        url = make_url(cluster.url(damaged)).set(username="plain", password="plain")
        plain = SecretStr(url.render_as_string(hide_password=False))
        copy = copy_of(cluster, damaged)
        level = _check_structure(Copy(copy.restored, copy.url, plain, "plain"), DATABASE)
        assert level.verdict == "not_possible"
        assert "may not execute verify_heapam" in level.why
    finally:
        with cluster.connect(damaged) as connection:
            connection.execute("DROP OWNED BY plain")
            connection.execute("REVOKE pg_read_all_data FROM plain")
            connection.execute("DROP ROLE plain")


def test_the_checks_take_turns_and_not_one_session_each(cluster: Cluster, damaged: str) -> None:
    sessions: set[int] = set()
    both_at_work = threading.Barrier(2, timeout=60)

    def work(session: Any, item: int) -> float:
        sessions.add(id(session))
        both_at_work.wait()
        return float(item)

    answers = copy_of(cluster, damaged).inspector.each(range(8), work, 2)
    assert sorted(answers) == list(range(8))
    assert len(sessions) == 2
