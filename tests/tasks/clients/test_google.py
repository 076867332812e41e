"""Where the clients' calls go, and how they are made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.cloud import secretmanager_v1

from tasks.clients.google import MOST_ANSWER_BYTES, Google
from tasks.clients.secret_manager import SecretManager
from tasks.errors import BadInput, NotAllowed, TransientError
from tasks.settings import Settings
from tests.tasks.clients.conftest import Place

CLIENTS = sorted(path.stem for path in (Path(__file__).parents[3] / "tasks" / "clients").glob("*.py"))


def test_the_local_cloud_is_asked_in_the_name_of_caretaker(google, local_cloud, project):
    SecretManager(google).create_secret("token")
    (call,) = local_cloud.control.calls(project)
    assert (call.method, call.writes, call.code) == ("SecretManagerService.CreateSecret", True, "OK")
    assert call.caller.startswith("caretaker ")


def test_one_client_and_one_channel_serve_all_who_ask(google, local_cloud, project):
    kind = secretmanager_v1.SecretManagerServiceClient
    assert google.client(kind) is google.client(kind)
    other = Google(Place(project), Settings(state=local_cloud.state))
    assert other.client(kind).transport.grpc_channel is not None
    assert google.parent == f"projects/{project}/locations/europe-west4"


def test_a_local_cloud_that_was_never_started_is_told_with_the_way_out(tmp_path):
    with pytest.raises(BadInput, match=r"localcloud\.json failed: no such file; run 'caretaker up' first"):
        SecretManager(Google(Place("p"), Settings(state=tmp_path))).resolve("token")


def test_a_local_cloud_that_is_down_is_worth_a_retry(tmp_path):
    (tmp_path / "localcloud.json").write_text('{"grpc": "127.0.0.1:9", "storage": "http://127.0.0.1:9"}')
    google = Google(Place("p"), Settings(state=tmp_path))
    with pytest.raises(TransientError, match="reading secret token version latest failed: UNAVAILABLE"):
        SecretManager(google).resolve("token")
    from tasks.clients.storage import Bucket

    with pytest.raises(TransientError, match="looking for gs://b/x failed: connection lost: ConnectionError"):
        Bucket(google, "b").exists("x")


def test_a_real_estate_never_reaches_the_local_cloud_and_names_the_log_in(local_cloud, project, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    real = Google(Place(project, local_cloud=False), Settings(state=local_cloud.state))
    with pytest.raises(NotAllowed, match=r"finding Google credentials failed: .*gcloud auth application-default login"):
        SecretManager(real).resolve("token")
    assert local_cloud.control.calls(project) == []


def test_importing_a_client_does_not_import_the_libraries_that_it_needs_later():
    """Flows import every client; Google's libraries take seconds."""
    heavy = ["google.api_core", "google.cloud.run_v2", "google.cloud.storage", "grpc", "apprise", "requests"]
    light = [name for name in CLIENTS if name not in ("__init__", "alembic_sql")]
    program = (
        "import importlib, sys\n"
        f"for name in {light}: importlib.import_module(f'tasks.clients.{{name}}')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_client_of_google_is_made_with_a_channel_that_bounds_its_answers(local_cloud, monkeypatch, tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import logging_v2, monitoring_v3, run_v2
    from google.cloud.devtools import cloudbuild_v1

    made = []
    monkeypatch.setattr(
        "google.api_core.grpc_helpers.create_channel",
        lambda host, **more: made.append((host, dict(more["options"]), more["credentials"])) or FAKE_CHANNEL,
    )
    real = Google(Place("p", local_cloud=False), Settings(state=tmp_path))
    real.__dict__["credentials"] = AnonymousCredentials()
    kinds = (
        logging_v2.services.logging_service_v2.LoggingServiceV2Client, run_v2.ServicesClient,
        secretmanager_v1.SecretManagerServiceClient, monitoring_v3.MetricServiceClient, cloudbuild_v1.CloudBuildClient,
    )  # fmt: skip
    for kind in kinds:
        real.client(kind)
    assert [host.partition(".")[0] for host, *_ in made] == [
        "logging", "run", "secretmanager", "monitoring", "cloudbuild",
    ]  # fmt: skip
    assert {options["grpc.max_receive_message_length"] for _, options, _ in made} == {MOST_ANSWER_BYTES}
    assert {credentials for *_, credentials in made} == {real.credentials}


#: A channel to nowhere, which is never asked.
FAKE_CHANNEL = grpc.insecure_channel("127.0.0.1:9")
