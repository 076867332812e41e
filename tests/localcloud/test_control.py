"""The control API through its client: the call log and the planted faults."""

from __future__ import annotations

import pytest
from google.api_core import exceptions

from tests.localcloud.test_core import secrets_of

AUTOMATIC = {"replication": {"automatic": {}}}


def create(channel, project, secret_id):
    return secrets_of(channel).create_secret(parent=f"projects/{project}", secret_id=secret_id, secret=AUTOMATIC)


def test_every_call_is_logged_with_who_and_what(local_cloud, channel, project):
    secret = create(channel, project, "a")
    with pytest.raises(exceptions.NotFound):
        secrets_of(channel).get_secret(name=f"{secret.name}x")
    wrote, read = local_cloud.control.calls(project)
    assert (wrote.method, wrote.resource, wrote.writes) == ("SecretManagerService.CreateSecret", secret.name, True)
    assert (wrote.code, wrote.fault, wrote.project) == ("OK", "", project)
    assert "grpc-python" in wrote.caller
    assert wrote.started <= wrote.finished <= read.started
    assert (read.method, read.writes, read.code) == ("SecretManagerService.GetSecret", False, "NOT_FOUND")


def test_the_log_is_read_by_project_by_writes_and_from_a_place(local_cloud, channel, project):
    create(channel, project, "a")
    create(channel, f"{project}x", "a")
    list(secrets_of(channel).list_secrets(parent=f"projects/{project}"))
    create(channel, project, "b")
    control = local_cloud.control
    first = control.calls(project)[0]
    assert [c.resource[-1] for c in control.calls(project, writes_only=True)] == ["a", "b"]
    assert [c.method[21:] for c in control.calls(project, after=first.seq)] == ["ListSecrets", "CreateSecret"]


def test_a_refused_call_is_logged_with_its_code(local_cloud, channel, project):
    create(channel, project, "a")
    with pytest.raises(exceptions.AlreadyExists):
        create(channel, project, "a")
    assert [c.code for c in local_cloud.control.calls(project)] == ["OK", "ALREADY_EXISTS"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "error"}, "needs a method"),
        ({"method": "*", "kind": "explode"}, "is none of error, lost_answer"),
        ({"method": "*", "kind": "error", "code": "BROKEN"}, "no gRPC status"),
        ({"method": "*", "kind": "error", "metod": 1}, "unknown field metod"),
        ({"method": "*", "kind": "error", "nth": 0}, "nth"),
        ({"method": "*", "kind": "delay", "seconds": "2"}, "seconds"),
    ],
)
def test_a_fault_that_could_never_be_met_is_refused(local_cloud, fault, why):
    before = local_cloud.control.faults()
    with pytest.raises(ValueError, match=why):
        local_cloud.control.plant(**{"method": "", "kind": "error"} | fault)
    assert local_cloud.control.faults() == before


def test_faults_are_told_removed_and_cleared_by_project(local_cloud, project):
    control = local_cloud.control
    mine = [control.plant("Objects.Get", "error", project=project, code="ABORTED") for _ in range(2)]
    other = control.plant("Objects.Get", "error", project=f"{project}x")
    assert control.fault(mine[0])["code"] == "ABORTED"
    control.remove(mine[0])
    control.remove(mine[0])
    with pytest.raises(LookupError, match=mine[0]):
        control.fault(mine[0])
    control.clear(project)
    assert other in {fault["id"] for fault in control.faults()}
    assert mine[1] not in {fault["id"] for fault in control.faults()}
    control.remove(other)


def test_waiting_for_a_fault_that_is_not_met_ends(local_cloud, project):
    planted = local_cloud.control.plant("Objects.Get", "error", project=project)
    with pytest.raises(TimeoutError, match=r"Objects\.Get"):
        local_cloud.control.wait_until_met(planted, timeout=0.05)
    local_cloud.control.remove(planted)


def test_the_implemented_methods_are_told(local_cloud):
    methods = local_cloud.control.methods()
    assert "/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion" in methods
    assert "/google.longrunning.Operations/GetOperation" in methods
    assert methods == sorted(methods)
