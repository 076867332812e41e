"""The process itself: how it starts, stops, refuses to start, and comes back after ``kill -9``."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from google.api_core import exceptions
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport

from tests.conftest import ROOT, open_channel


def secrets_of(channel: grpc.Channel) -> sm.SecretManagerServiceClient:
    return sm.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))


def refused(state: Path, *options: str) -> str:
    """What a start that must fail says."""
    command = [sys.executable, "-m", "localcloud", "--state", str(state), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_the_state_tells_where_it_answers(local_cloud):
    addresses = json.loads((local_cloud.state / "localcloud.json").read_text())
    assert addresses["pid"] == local_cloud.pid
    assert Path(addresses["sockets"]).is_dir()
    assert httpx.get(f"{addresses['control']}/healthz").json() == {"status": "ok"}
    buckets = httpx.get(f"{addresses['storage']}/storage/v1/b", params={"project": "none"})
    assert buckets.json() == {"kind": "storage#buckets"}


def test_only_its_own_user_can_read_what_it_keeps(local_cloud):
    for name in ("store.db", "store.db-wal", "storage/blobs"):
        assert stat.S_IMODE((local_cloud.state / name).stat().st_mode) & 0o077 == 0


def test_a_second_process_on_the_same_state_is_refused(local_cloud):
    line = refused(local_cloud.state)
    assert f"served by another local cloud (pid {local_cloud.pid})" in line
    assert (local_cloud.state / "localcloud.json").exists()


@pytest.mark.parametrize("option", ["grpc", "http", "control"])
def test_a_port_in_use_is_refused_before_anything_is_made(option, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(tmp_path / "state", f"--{option}-port", str(port))
    assert line == (
        f"localcloud: port {port} on 127.0.0.1 is in use; free it or name another with --{option}-port"
    )
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


def test_a_state_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be used" in refused(tmp_path / "file")


def test_what_was_acknowledged_is_there_after_a_kill_on_the_same_ports(own_local_cloud):
    before = (own_local_cloud.grpc, own_local_cloud.storage, own_local_cloud.pid)
    with open_channel(own_local_cloud) as channel:
        client = secrets_of(channel)
        secret = client.create_secret(
            parent="projects/p", secret_id="kept", secret={"replication": {"automatic": {}}}
        )
        version = client.add_secret_version(parent=secret.name, payload={"data": b"kept"})
        client.disable_secret_version(name=version.name)
        client.enable_secret_version(name=version.name)
    own_local_cloud.restart(kill=True)
    assert (own_local_cloud.grpc, own_local_cloud.storage) == before[:2]
    assert own_local_cloud.pid != before[2]
    with open_channel(own_local_cloud) as channel:
        client = secrets_of(channel)
        assert client.access_secret_version(name=f"{secret.name}/versions/latest").payload.data == b"kept"
        assert client.get_secret(name=secret.name) == secret
        assert client.add_secret_version(parent=secret.name, payload={"data": b"2"}).name.endswith("/2")


def test_a_signal_stops_it_cleanly_though_it_was_started_with_signals_ignored(own_local_cloud):
    """And though a call is being held, which would go on for two minutes."""
    control, state = own_local_cloud.control, own_local_cloud.state
    planted = control.plant("SecretManagerService.CreateSecret", "hold_before", project="held")
    wanted = sm.CreateSecretRequest(parent="projects/held", secret_id="s", secret={"replication": {"automatic": {}}})
    with open_channel(own_local_cloud) as channel:
        held = secrets_of(channel).transport.create_secret.future(wanted)
        control.wait_until_met(planted)
        assert own_local_cloud.stop(signal.SIGINT) == 0
        assert isinstance(held.exception(), grpc.RpcError)
    assert not (state / "localcloud.json").exists()
    own_local_cloud.start()


def test_a_remembered_port_that_was_taken_meanwhile_is_replaced(own_local_cloud):
    host, port = own_local_cloud.grpc.split(":")
    assert own_local_cloud.stop(signal.SIGTERM) == 0
    with socket.create_server((host, int(port))):
        own_local_cloud.start()
        assert own_local_cloud.grpc != f"{host}:{port}"
        assert own_local_cloud.control.healthy()


def test_a_method_that_is_not_implemented_is_named(channel):
    client = secrets_of(channel)
    with pytest.raises(
        exceptions.MethodNotImplemented,
        match=r"does not implement /google\.cloud\.secretmanager\.v1\.SecretManagerService/GetIamPolicy",
    ):
        client.get_iam_policy({"resource": "projects/p/secrets/s"})


def test_a_call_of_an_unknown_service_is_named(channel):
    call: Callable = channel.unary_unary("/google.example.v1.Nothing/Do")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "the local cloud does not implement /google.example.v1.Nothing/Do"


def test_nothing_is_left_among_the_temporary_files_when_it_was_stopped(own_local_cloud):
    (own_local_cloud.sockets / "p:europe-west4:stopped").mkdir()
    assert own_local_cloud.stop() == 0
    assert not own_local_cloud.sockets.exists()
