"""Secret Manager, on the local cloud through the official client."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tasks.clients.secret_manager import SecretManager
from tasks.errors import Conflict, Missing, NotAllowed, Refused, TransientError
from tasks.models import SecretPin


@pytest.fixture
def secrets(google) -> SecretManager:
    manager = SecretManager(google)
    manager.create_secret("token", {"made-by": "caretaker"})
    return manager


def test_latest_is_resolved_to_a_number_and_the_number_is_read(secrets):
    secrets.add_version("token", SecretStr("one"))
    added = secrets.add_version("token", SecretStr("zwei ü"))
    assert (added.secret, added.version, added.state) == ("token", 2, "ENABLED")
    assert secrets.resolve("token") == added
    assert secrets.access(SecretPin(secret="token", version="2")).get_secret_value() == "zwei ü"
    assert secrets.access(SecretPin(secret="token", version="1")).get_secret_value() == "one"


def test_the_previous_version_is_the_enabled_one_before_the_newest_and_the_newest_where_there_is_none(secrets):
    numbers = [secrets.add_version("token", SecretStr(f"value {n}")).version for n in range(4)]
    secrets.disable("token", numbers[3])
    secrets.disable("token", numbers[1])
    assert secrets.previous("token").version == numbers[0]
    for version in secrets.versions("token"):
        if version.version not in (numbers[2], numbers[3], numbers[1]):
            secrets.disable("token", version.version)
    assert secrets.previous("token").version == numbers[2]


def test_versions_come_newest_first_in_every_state(secrets):
    for value in "abc":
        secrets.add_version("token", SecretStr(value))
    secrets.disable("token", 2)
    secrets.destroy("token", 1)
    assert [(v.version, v.state) for v in secrets.versions("token")] == [
        (3, "ENABLED"), (2, "DISABLED"), (1, "DESTROYED")
    ]  # fmt: skip


def test_a_secret_that_does_not_exist_is_missing_with_the_way_out(google):
    with pytest.raises(Missing, match=r"secret nothing version latest failed: NOT_FOUND .*secrets create nothing "):
        SecretManager(google).resolve("nothing")


def test_a_secret_without_a_version_is_missing(secrets):
    with pytest.raises(Missing):
        secrets.resolve("token")


def test_a_disabled_version_is_refused_with_the_command_that_enables_it(secrets, project):
    secrets.add_version("token", SecretStr("s3cret"))
    secrets.disable("token", 1)
    command = f"gcloud secrets versions enable 1 --secret=token --project={project}"
    with pytest.raises(Refused, match=command):
        secrets.resolve("token")
    with pytest.raises(Refused, match=command):
        secrets.access(SecretPin(secret="token", version="1"))
    secrets.enable("token", 1)
    assert secrets.resolve("token").version == 1


def test_a_secret_that_exists_is_a_conflict(secrets):
    with pytest.raises(Conflict, match="creating secret token failed: ALREADY_EXISTS"):
        secrets.create_secret("token")


def test_an_outage_is_worth_a_retry_and_is_not_retried_in_secret(secrets, faults, project):
    fault = faults.plant(method="SecretManagerService.GetSecretVersion", kind="error", times=5, project=project)
    with pytest.raises(TransientError, match="reading secret token version latest failed: UNAVAILABLE planted fault"):
        secrets.resolve("token")
    assert faults.fault(fault)["met"] == 1


def test_a_missing_permission_names_the_role(secrets, faults, project):
    faults.plant(
        method="SecretManagerService.AccessSecretVersion", kind="error", code="PERMISSION_DENIED", project=project
    )
    with pytest.raises(NotAllowed, match=f"add-iam-policy-binding {project} .*roles/secretmanager.secretAccessor"):
        secrets.access(SecretPin(secret="token", version="latest"))
