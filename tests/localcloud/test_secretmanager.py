"""Secret Manager through its official client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import google_crc32c
import grpc
import pytest
from google.api_core import exceptions
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport
from google.protobuf import duration_pb2, field_mask_pb2

from localcloud.secretmanager.records import Records
from localcloud.secretmanager.service import SecretManager
from localcloud.store import Store

State = sm.SecretVersion.State
AUTOMATIC = {"replication": {"automatic": {}}}


@pytest.fixture
def client(channel: grpc.Channel) -> sm.SecretManagerServiceClient:
    return connected(channel)


def connected(channel: grpc.Channel) -> sm.SecretManagerServiceClient:
    return sm.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))


@pytest.fixture
def secret(client: sm.SecretManagerServiceClient, project: str) -> sm.Secret:
    return create(client, project)


def create(
    client: sm.SecretManagerServiceClient, project: str, secret_id: str = "token", **fields: object
) -> sm.Secret:
    request = {"parent": f"projects/{project}", "secret_id": secret_id, "secret": AUTOMATIC | fields}
    return client.create_secret(request)


def add(client: sm.SecretManagerServiceClient, secret: sm.Secret, data: bytes = b"s3cret") -> sm.SecretVersion:
    return client.add_secret_version(parent=secret.name, payload={"data": data})


def access(client: sm.SecretManagerServiceClient, secret: sm.Secret, version: str) -> bytes:
    return client.access_secret_version(name=f"{secret.name}/versions/{version}").payload.data


def update(client: sm.SecretManagerServiceClient, secret: sm.Secret, *paths: str) -> sm.Secret:
    return client.update_secret(secret=secret, update_mask=field_mask_pb2.FieldMask(paths=paths))


def test_a_secret_is_created_read_and_listed(client, project):
    created = create(client, project, labels={"app": "pyplots"}, annotations={"Rotated.By": "rotate-secrets"})
    assert created.name == f"projects/{project}/secrets/token"
    assert client.get_secret(name=created.name) == created
    assert list(client.list_secrets(parent=f"projects/{project}")) == [created]
    assert created.etag.startswith('"')
    assert created.etag.endswith('"')


def test_a_secret_that_exists_is_not_created_again(client, secret, project):
    with pytest.raises(exceptions.AlreadyExists, match="already exists"):
        create(client, project)


def test_a_secret_of_another_project_is_not_listed(client, secret, project):
    assert list(client.list_secrets(parent=f"projects/{project}x")) == []
    assert list(client.list_secrets(parent=f"projects/{project[:-1]}")) == []


def test_lists_are_given_in_pages(client, project):
    for number in range(5):
        create(client, project, f"s{number}")
    pages = list(client.list_secrets({"parent": f"projects/{project}", "page_size": 2}).pages)
    assert [len(p.secrets) for p in pages] == [2, 2, 1]
    assert [s.name[-2:] for p in pages for s in p.secrets] == ["s4", "s3", "s2", "s1", "s0"]


def test_secrets_are_filtered_by_label_and_name(client, project):
    for name, env in (("db-url", "prod"), ("db-password", "test"), ("token", "prod")):
        create(client, project, name, labels={"env": env})

    def names(wanted: str) -> set[str]:
        found = client.list_secrets({"parent": f"projects/{project}", "filter": wanted})
        return {secret.name.rsplit("/", 1)[1] for secret in found}

    assert names("labels.env=prod") == {"db-url", "token"}
    assert names("name:db- AND NOT labels.env=prod") == {"db-password"}
    assert names("labels:env") == {"db-url", "db-password", "token"}
    with pytest.raises(exceptions.InvalidArgument, match="not supported"):
        names("colour=red")


def test_versions_count_up_and_latest_is_the_newest(client, secret):
    assert [add(client, secret, data).name.rsplit("/", 1)[1] for data in (b"one", b"two")] == ["1", "2"]
    assert access(client, secret, "latest") == b"two"
    assert access(client, secret, "1") == b"one"


def test_the_tenth_version_is_newer_than_the_ninth(client, secret):
    for number in range(1, 11):
        add(client, secret, str(number).encode())
    assert access(client, secret, "latest") == b"10"


def test_a_payload_comes_with_its_checksum(client, secret):
    data = bytes(range(256))
    added = client.add_secret_version(
        parent=secret.name, payload={"data": data, "data_crc32c": google_crc32c.value(data)}
    )
    answer = client.access_secret_version(name=added.name)
    assert added.client_specified_payload_checksum
    assert (answer.payload.data, answer.payload.data_crc32c) == (data, google_crc32c.value(data))


def test_a_payload_that_does_not_match_its_checksum_is_refused(client, secret):
    with pytest.raises(exceptions.InvalidArgument, match="checksum"):
        client.add_secret_version(parent=secret.name, payload={"data": b"x", "data_crc32c": 1})
    assert list(client.list_secret_versions(parent=secret.name)) == []


@pytest.mark.parametrize("size", [0, 65_537])
def test_a_payload_of_no_or_too_many_bytes_is_refused(client, secret, size):
    with pytest.raises(exceptions.InvalidArgument):
        add(client, secret, b"x" * size)


def test_a_disabled_version_is_not_given_out_and_latest_does_not_skip_it(client, secret):
    add(client, secret, b"old")
    newest = add(client, secret, b"new")
    client.disable_secret_version(name=newest.name)
    with pytest.raises(exceptions.FailedPrecondition, match="is in DISABLED state"):
        access(client, secret, "latest")
    client.enable_secret_version(name=newest.name)
    assert access(client, secret, "latest") == b"new"


def test_a_destroyed_version_stays_destroyed_and_keeps_its_number(client, secret):
    version = add(client, secret)
    destroyed = client.destroy_secret_version(name=version.name)
    assert destroyed.state == State.DESTROYED
    assert destroyed.destroy_time >= version.create_time
    with pytest.raises(exceptions.FailedPrecondition, match="is in DESTROYED state"):
        client.enable_secret_version(name=version.name)
    with pytest.raises(exceptions.FailedPrecondition, match="is in DESTROYED state"):
        access(client, secret, "1")
    assert add(client, secret).name.endswith("/versions/2")


def test_versions_are_filtered_by_state(client, secret):
    for _ in range(3):
        add(client, secret)
    client.disable_secret_version(name=f"{secret.name}/versions/2")
    enabled = client.list_secret_versions({"parent": secret.name, "filter": "state:ENABLED"})
    assert [v.name[-1] for v in enabled] == ["3", "1"]


def test_an_alias_names_a_version_until_it_is_moved(client, secret):
    add(client, secret, b"one")
    add(client, secret, b"two")
    secret.version_aliases = {"serving": 1}
    moved = update(client, secret, "version_aliases")
    assert access(client, secret, "serving") == b"one"
    moved.version_aliases = {"serving": 2}
    update(client, moved, "version_aliases")
    assert access(client, secret, "serving") == b"two"


def test_an_alias_of_no_version_is_refused(client, secret):
    secret.version_aliases = {"serving": 7}
    with pytest.raises(exceptions.FailedPrecondition, match="version 7"):
        update(client, secret, "version_aliases")
    secret.version_aliases = {"latest": 1}
    with pytest.raises(exceptions.InvalidArgument, match="latest"):
        update(client, secret, "version_aliases")


def test_a_state_is_not_changed_by_alias(client, secret):
    add(client, secret)
    with pytest.raises(exceptions.InvalidArgument, match="number"):
        client.destroy_secret_version(name=f"{secret.name}/versions/latest")


def test_only_masked_fields_are_updated(client, project):
    secret = create(client, project, labels={"env": "test"}, annotations={"k": "v"})
    changed = update(client, sm.Secret(name=secret.name, labels={"env": "prod"}), "labels")
    assert (dict(changed.labels), dict(changed.annotations)) == ({"env": "prod"}, {"k": "v"})
    assert changed.etag != secret.etag
    assert changed.create_time == secret.create_time
    with pytest.raises(exceptions.InvalidArgument, match="replication"):
        update(client, secret, "replication")


def test_of_two_writers_with_the_same_etag_one_fails(client, secret):
    secret.labels = {"writer": "first"}
    update(client, secret, "labels")
    secret.labels = {"writer": "second"}
    with pytest.raises(exceptions.FailedPrecondition, match="etag"):
        update(client, secret, "labels")
    with pytest.raises(exceptions.FailedPrecondition, match="etag"):
        client.delete_secret({"name": secret.name, "etag": secret.etag})
    assert dict(client.get_secret(name=secret.name).labels) == {"writer": "first"}


def test_enabling_an_enabled_version_still_changes_its_etag(client, secret):
    version = add(client, secret)
    client.enable_secret_version(name=version.name)
    with pytest.raises(exceptions.FailedPrecondition, match="etag"):
        client.disable_secret_version({"name": version.name, "etag": version.etag})


def test_a_deleted_secret_takes_its_versions_with_it(client, secret, project):
    add(client, secret)
    client.delete_secret(name=secret.name)
    with pytest.raises(exceptions.NotFound, match=r"Secret \[.*\] not found"):
        access(client, secret, "1")
    assert add(client, create(client, project)).name.endswith("/versions/1")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"labels": {"Env": "x"}}, exceptions.InvalidArgument, "label"),
        ({"annotations": {"-k": "x"}}, exceptions.InvalidArgument, "annotation"),
        ({"version_destroy_ttl": timedelta(hours=1)}, exceptions.InvalidArgument, "24 hours"),
        ({"expire_time": datetime(2001, 1, 1, tzinfo=UTC)}, exceptions.InvalidArgument, "future"),
        ({"topics": [{"name": "projects/p/topics/t"}]}, exceptions.MethodNotImplemented, "Secret.topics"),
        ({"replication": {}}, exceptions.InvalidArgument, "replication"),
    ],
)
def test_a_secret_that_google_or_we_cannot_honour_is_refused(client, project, fields, error, message):
    with pytest.raises(error, match=message):
        create(client, project, **fields)


@pytest.mark.parametrize("name", ["projects/p/secrets/a b", "secrets/x", "projects/p/secrets/x/versions"])
def test_a_malformed_name_is_an_invalid_argument(client, name):
    with pytest.raises(exceptions.InvalidArgument, match="format"):
        client.get_secret(name=name)


def test_versions_added_at_the_same_time_get_different_numbers(client, secret):
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda n: add(client, secret, str(n).encode()), range(24)))
    assert sorted(int(v.name.rsplit("/", 1)[1]) for v in added) == list(range(1, 25))
    assert {access(client, secret, v.name.rsplit("/", 1)[1]) for v in added} == {str(n).encode() for n in range(24)}


def test_destruction_is_delayed_and_can_be_taken_back(client, project):
    secret = create(client, project, version_destroy_ttl=duration_pb2.Duration(seconds=86_400))
    version = add(client, secret)
    scheduled = client.destroy_secret_version(name=version.name)
    assert scheduled.state == State.DISABLED
    assert timedelta(hours=23) < scheduled.scheduled_destroy_time - datetime.now(UTC) <= timedelta(hours=24)
    restored = client.enable_secret_version(name=version.name)
    assert (restored.state, restored.scheduled_destroy_time) == (State.ENABLED, None)
    assert access(client, secret, "1") == b"s3cret"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_delayed_destruction_comes_when_its_time_has_come(tmp_path: Path):
    clock = Clock()
    store = Store(tmp_path / "store.db")
    service = SecretManager(Records(store, clock))
    secret = create(Direct(service), "p", version_destroy_ttl=timedelta(days=2))
    version = service.add_secret_version(sm.AddSecretVersionRequest(parent=secret.name, payload={"data": b"x"}))
    service.destroy_secret_version(sm.DestroySecretVersionRequest(name=version.name))
    clock.now += timedelta(days=2)
    gone = service.get_secret_version(sm.GetSecretVersionRequest(name=version.name))
    assert (gone.state, gone.destroy_time) == (State.DESTROYED, clock.now)
    assert store.list("secretmanager.payloads") == []


def test_a_secret_is_gone_when_its_time_to_live_is_over(tmp_path: Path):
    clock = Clock()
    service = SecretManager(Records(Store(tmp_path / "store.db"), clock))
    secret = create(Direct(service), "p", ttl=timedelta(hours=1))
    assert secret.expire_time == clock.now + timedelta(hours=1)
    clock.now += timedelta(hours=1)
    with pytest.raises(exceptions.NotFound):
        service.get_secret(sm.GetSecretRequest(name=secret.name))


class Direct:
    """A servicer behind the client's shape: where a test moves the clock, no process is between."""

    def __init__(self, service: SecretManager) -> None:
        self._service = service

    def create_secret(self, request: dict) -> sm.Secret:
        return self._service.create_secret(sm.CreateSecretRequest(request))
