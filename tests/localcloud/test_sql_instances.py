from __future__ import annotations

import time

import psycopg
import pytest
from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from tests.localcloud.sql_admin import PASSWORD, REGION, OperationFailed, SqlAdmin, admin, shared

__all__ = ["admin", "shared"]  # fixtures

State = sql.DatabaseInstance.SqlInstanceState
Policy = sql.Settings.SqlActivationPolicy


def listed(admin: SqlAdmin, filter_: str = "") -> list[str]:
    request = sql.SqlInstancesListRequest(project=admin.project, filter=filter_)
    return [instance.name for instance in admin.instances.list(request).items]


def update(admin: SqlAdmin, name: str, settings: sql.Settings) -> sql.Operation:
    body = sql.DatabaseInstance(settings=settings)
    return admin.instances.update(sql.SqlInstancesUpdateRequest(project=admin.project, instance=name, body=body))


def test_an_instance_is_a_real_postgresql_that_is_made_while_its_operation_is_polled(admin: SqlAdmin):
    begun = time.monotonic()
    operation = admin.insert("made", user_labels={"purpose": "scratch"})
    assert operation.status != sql.Operation.SqlOperationStatus.DONE
    assert operation.operation_type == sql.Operation.SqlOperationType.CREATE
    assert admin.get("made").state == State.PENDING_CREATE
    done = admin.wait(operation)
    assert done.insert_time <= done.start_time <= done.end_time
    assert (done.target_id, done.target_project) == ("made", admin.project)
    assert time.monotonic() - begun < 20

    instance = admin.get("made")
    assert instance.state == State.RUNNABLE
    assert instance.connection_name == f"{admin.project}:{REGION}:made"
    assert instance.settings.user_labels == {"purpose": "scratch"}
    assert instance.settings.settings_version == 1
    assert instance.root_password == ""
    assert admin.rows("made", "SHOW server_version_num")[0][0].startswith("18")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        admin.connect("made", password="wrong")

    admin.wait(admin.delete("made"))
    with pytest.raises(exceptions.NotFound, match="The Cloud SQL instance does not exist"):
        admin.get("made")
    assert not (admin.cloud.sockets / f"{admin.project}:{REGION}:made").exists()
    assert not list((admin.cloud.state / "sql" / "instances" / admin.project).iterdir())


def test_one_operation_at_a_time(admin: SqlAdmin):
    operation = admin.insert("busy")
    for call in (lambda: admin.delete("busy"), lambda: admin.patch("busy", user_labels={"a": "b"})):
        with pytest.raises(exceptions.Aborted, match="another operation was already in progress") as refused:
            call()
        assert refused.value.code == 409
    admin.wait(operation)
    admin.wait(admin.delete("busy"))


def test_what_does_not_exist_is_told_in_googles_words(admin: SqlAdmin):
    for call in (admin.get, admin.delete, admin.restart, admin.start_backup, admin.patch):
        with pytest.raises(exceptions.NotFound, match=r"^404 The Cloud SQL instance does not exist\.$"):
            call("nothing")
    with pytest.raises(exceptions.NotFound, match="operation does not exist"):
        admin.operation("nothing")


def test_a_name_is_taken_once(shared: SqlAdmin):
    with pytest.raises(exceptions.AlreadyExists, match="The Cloud SQL instance already exists"):
        shared.insert("shared")


@pytest.mark.parametrize("name", ["", "Upper", "1st", "under_score", "ends-", "a" * 98])
def test_a_wrong_name_is_refused(admin: SqlAdmin, name: str):
    with pytest.raises(exceptions.InvalidArgument, match="Invalid instance name"):
        admin.insert(name)
    assert listed(admin) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "POSTGRES_15"}, "POSTGRES_18 only, not POSTGRES_15"),
        ({"tier": ""}, r"Missing parameter: settings\.tier"),
        ({"tier": "huge"}, r"Invalid Tier \(huge\)"),
        ({"data_disk_size_gb": 5}, "at least 10 GB"),
        ({"database_flags": [sql.DatabaseFlags(name="no_such", value="1")]}, "Invalid flag name: no_such"),
        ({"database_flags": [sql.DatabaseFlags(name="data_directory", value="/")]}, "Invalid flag name"),
        ({"database_flags": [sql.DatabaseFlags(name="fsync", value="off")]}, "Invalid flag name"),
        ({"database_flags": [sql.DatabaseFlags(name="work_mem", value="x")]}, "Invalid flag value for work_mem"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_made(admin: SqlAdmin, change: dict, said: str):
    with pytest.raises(exceptions.InvalidArgument, match=said):
        admin.insert("wrong", **change)
    assert listed(admin) == []


def test_a_patch_changes_what_it_names_and_counts_the_version_up(shared: SqlAdmin):
    before = shared.get("shared").settings
    after = shared.patch("shared", user_labels={"team": "ops"}, data_disk_size_gb=before.data_disk_size_gb + 1).settings
    assert after.user_labels["team"] == "ops"
    assert after.data_disk_size_gb == before.data_disk_size_gb + 1
    assert after.tier == before.tier
    assert after.backup_configuration == before.backup_configuration
    assert after.settings_version == before.settings_version + 1
    with pytest.raises(exceptions.InvalidArgument, match="Disk size cannot be decreased"):
        shared.patch("shared", data_disk_size_gb=10)


def test_a_change_from_stale_settings_is_refused(shared: SqlAdmin):
    read = shared.get("shared").settings
    shared.patch("shared", user_labels={"stale": "yes"})
    with pytest.raises(exceptions.Aborted, match="Condition does not match"):
        update(shared, "shared", read)
    with pytest.raises(exceptions.InvalidArgument, match=r"settings\.settingsVersion"):
        update(shared, "shared", sql.Settings(tier="db-f1-micro"))
    fresh = shared.get("shared").settings
    fresh.user_labels = {"now": "fresh"}
    shared.wait(update(shared, "shared", fresh))
    assert shared.get("shared").settings.user_labels == {"now": "fresh"}


def test_lists_are_filtered_by_label_and_an_unknown_filter_is_refused(shared: SqlAdmin):
    shared.patch("shared", user_labels={"found": "me"})
    assert listed(shared, "settings.userLabels.found:me") == ["shared"]
    assert listed(shared, "settings.userLabels.found:*") == ["shared"]
    assert listed(shared, "settings.userLabels.found:other") == []
    assert listed(shared, "name:shared AND region:europe-west4") == ["shared"]
    with pytest.raises(exceptions.InvalidArgument, match="does not filter instances by"):
        listed(shared, "settings.tier:db-f1-micro")


def test_flags_reach_the_server_and_those_that_stop_it_from_starting_are_taken_back(shared: SqlAdmin):
    shared.patch("shared", database_flags=[sql.DatabaseFlags(name="work_mem", value="8192")])
    assert shared.rows("shared", "SHOW work_mem") == [("8MB",)]
    wrong = [sql.DatabaseFlags(name="timezone", value="No/Where")]
    with pytest.raises(OperationFailed, match="did not start with the new flags"):
        shared.patch("shared", database_flags=wrong)
    assert [flag.name for flag in shared.get("shared").settings.database_flags] == ["work_mem"]
    assert shared.rows("shared", "SHOW work_mem") == [("8MB",)]


def test_a_stopped_instance_refuses_work_until_it_is_started(shared: SqlAdmin):
    stopped = shared.patch("shared", activation_policy=Policy.NEVER)
    assert stopped.state == State.RUNNABLE  # "running, or stopped by its owner"
    try:
        with pytest.raises(psycopg.OperationalError):
            shared.connect("shared")
        for call in (shared.start_backup, shared.restart):
            with pytest.raises(exceptions.InvalidArgument, match="instance is not running"):
                call("shared")
    finally:
        shared.patch("shared", activation_policy=Policy.ALWAYS)
    assert shared.rows("shared", "SELECT 1") == [(1,)]


def test_a_restart_ends_the_sessions_and_keeps_the_data(shared: SqlAdmin):
    shared.rows("shared", "CREATE TABLE survives AS SELECT 7 AS n")
    with shared.connect("shared") as connection:
        shared.wait(shared.restart("shared"))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert shared.rows("shared", "SELECT n FROM survives") == [(7,)]


def test_a_protected_instance_is_not_deleted(shared: SqlAdmin):
    shared.patch("shared", deletion_protection_enabled=True)
    with pytest.raises(exceptions.FailedPrecondition, match="The instance is protected"):
        shared.delete("shared")
    shared.patch("shared", deletion_protection_enabled=False)
    assert shared.get("shared").state == State.RUNNABLE


def test_a_clone_goes_its_own_way(shared: SqlAdmin):
    shared.rows("shared", "CREATE TABLE cloned AS SELECT 1 AS n")
    context = sql.CloneContext(destination_instance_name="twin")
    body = sql.InstancesCloneRequest(clone_context=context)
    request = sql.SqlInstancesCloneRequest(project=shared.project, instance="shared", body=body)
    shared.wait(shared.instances.clone(request))
    shared.rows("twin", "INSERT INTO cloned VALUES (2)")
    assert shared.rows("twin", "SELECT count(*) FROM cloned") == [(2,)]
    assert shared.rows("shared", "SELECT count(*) FROM cloned") == [(1,)]
    shared.wait(shared.delete("twin"))


def test_operations_are_listed_newest_first_and_in_pages(shared: SqlAdmin):
    for word in ("one", "two", "three"):
        shared.patch("shared", user_labels={"word": word})
    request = sql.SqlOperationsListRequest(project=shared.project, instance="shared", max_results=2)
    found = list(shared.operations.list(request))
    assert len(found) >= 4
    assert [item.insert_time for item in found] == sorted((item.insert_time for item in found), reverse=True)
    assert found[0].operation_type == sql.Operation.SqlOperationType.UPDATE


def test_the_root_password_is_nowhere_on_disk(shared: SqlAdmin):
    holding = [
        path for path in shared.cloud.state.rglob("*")
        if path.is_file() and path.stat().st_size < 5_000_000 and PASSWORD.encode() in path.read_bytes()
    ]  # fmt: skip
    assert holding == []
    assert PASSWORD not in shared.cloud.log.read_text()


def test_flags_and_tiers_are_listed(shared: SqlAdmin):
    request = sql.SqlFlagsListRequest(database_version="POSTGRES_18")
    flags = {flag.name: flag for flag in shared.flags.list(request).items}
    assert flags["max_connections"].requires_restart
    assert not flags["work_mem"].requires_restart
    assert "fsync" not in flags
    tiers = shared.tiers.list(sql.SqlTiersListRequest(project=shared.project)).items
    assert "db-f1-micro" in {tier.tier for tier in tiers}
