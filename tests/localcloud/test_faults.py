"""Each kind of fault, met by a real call."""

from __future__ import annotations

import time

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import secretmanager_v1 as sm

from tests.conftest import open_channel
from tests.localcloud.test_core import secrets_of

CREATE = "SecretManagerService.CreateSecret"


@pytest.fixture
def client(channel):
    return secrets_of(channel)


def wish(project: str, secret_id: str = "s") -> sm.CreateSecretRequest:
    return sm.CreateSecretRequest(
        parent=f"projects/{project}", secret_id=secret_id, secret={"replication": {"automatic": {}}}
    )


def names(client: sm.SecretManagerServiceClient, project: str) -> list[str]:
    return sorted(s.name.rsplit("/", 1)[1] for s in client.list_secrets(parent=f"projects/{project}"))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNAVAILABLE", exceptions.ServiceUnavailable),
        ("RESOURCE_EXHAUSTED", exceptions.ResourceExhausted),
        ("PERMISSION_DENIED", exceptions.PermissionDenied),
        ("ABORTED", exceptions.Aborted),
    ],
)
def test_an_error_answers_and_does_nothing(client, faults, project, code, error):
    planted = faults.plant(CREATE, "error", project=project, code=code, message="no luck")
    with pytest.raises(error, match="no luck"):
        client.create_secret(wish(project), retry=None)
    assert names(client, project) == []
    assert faults.fault(planted)["met"] == 1
    assert [(c.code, c.fault) for c in faults.calls(project, writes_only=True)] == [(code, "error")]


def test_a_lost_answer_does_the_work_and_answers_unavailable(client, faults, project):
    planted = faults.plant(CREATE, "lost_answer", project=project)
    with pytest.raises(exceptions.ServiceUnavailable, match="lost"):
        client.create_secret(wish(project), retry=None)
    assert names(client, project) == ["s"]
    assert faults.fault(planted)["met"] == 1


def test_a_delay_is_waited_for(client, faults, project):
    planted = faults.plant(CREATE, "delay", project=project, seconds=0.3)
    begun = time.monotonic()
    client.create_secret(wish(project))
    assert time.monotonic() - begun >= 0.3
    assert faults.fault(planted)["met"] == 1


def test_a_fault_meets_the_call_that_it_names_by_number(client, faults, project):
    planted = faults.plant(CREATE, "error", project=project, nth=2, times=2)
    outcomes = []
    for number in range(4):
        try:
            client.create_secret(wish(project, f"s{number}"), retry=None)
            outcomes.append("OK")
        except exceptions.ServiceUnavailable:
            outcomes.append("UNAVAILABLE")
    assert outcomes == ["OK", "UNAVAILABLE", "UNAVAILABLE", "OK"]
    assert (faults.fault(planted)["seen"], faults.fault(planted)["met"]) == (4, 2)


def test_a_fault_of_one_project_or_resource_spares_the_others(client, faults, project):
    planted = faults.plant("*", "error", project=project, resource="/secrets/bad", writes_only=True)
    client.create_secret(wish(f"{project}x", "bad"))
    client.create_secret(wish(project, "good"))
    with pytest.raises(exceptions.ServiceUnavailable):
        client.create_secret(wish(project, "bad"), retry=None)
    assert names(client, project) == ["good"]
    assert faults.fault(planted)["met"] == 1


def test_a_call_is_held_before_its_work_until_released(client, faults, project):
    planted = faults.plant(CREATE, "hold_before", project=project)
    call = client.transport.create_secret.future(wish(project))
    faults.wait_until_met(planted)
    assert names(client, project) == []
    faults.release(planted)
    assert call.result(timeout=5).name.endswith("/secrets/s")


def test_a_call_is_held_after_its_work_until_released(client, faults, project):
    planted = faults.plant(CREATE, "hold_after", project=project)
    call = client.transport.create_secret.future(wish(project))
    faults.wait_until_met(planted)
    wait_for(lambda: names(client, project) == ["s"])
    assert not call.done()
    faults.release(planted)
    assert call.result(timeout=5).name.endswith("/secrets/s")


def test_a_caller_that_dies_while_it_is_held_before_the_work_has_done_nothing(local_cloud, client, faults, project):
    planted = faults.plant(CREATE, "hold_before", project=project)
    with open_channel(local_cloud) as dying:
        call = secrets_of(dying).transport.create_secret.future(wish(project))
        faults.wait_until_met(planted)
    assert isinstance(call.exception(), grpc.RpcError)
    # The closed connection reaches the server a moment later: only then may the call go on.
    time.sleep(0.3)
    faults.remove(planted)
    wait_for(lambda: [c.code for c in faults.calls(project, writes_only=True)] == ["CANCELLED"])
    assert names(client, project) == []


def wait_for(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
