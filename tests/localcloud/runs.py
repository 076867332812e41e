"""How the tests of Cloud Run make images, services and jobs: one small server as the image, the official clients."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
from google.cloud import run_v2, secretmanager_v1
from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcTransport
from google.cloud.run_v2.services.jobs.transports import JobsGrpcTransport
from google.cloud.run_v2.services.revisions.transports import RevisionsGrpcTransport
from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport
from google.cloud.run_v2.services.tasks.transports import TasksGrpcTransport
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from localcloud.build.images import Images
from localcloud.store import Store

LOCATION = "europe-west4"
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION

#: Answers with its revision; paths and variables make it misbehave.
SERVER = r'''
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

if os.environ.get("CRASH"):
    print("crashing as told", flush=True)
    sys.exit(3)
time.sleep(float(os.environ.get("START_SECONDS", "0")))

class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(float(query.get("seconds", ["0"])[0]))
        if url.path == "/exit":
            os._exit(9)
        if url.path == "/print":
            print(query["line"][0], flush=True)
        answers = {
            "/env": lambda: json.dumps(dict(os.environ)).encode(),
            "/headers": lambda: json.dumps(dict(self.headers.items())).encode(),
            "/echo": lambda: body,
            "/cwd": lambda: os.getcwd().encode(),
            "/big": lambda: b"x" * 5_000_000,
        }
        answer = answers.get(url.path, lambda: os.environ["K_REVISION"].encode())()
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Revision", os.environ["K_REVISION"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size, daemon_threads = 256, True

Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''


def server_image(state: Path) -> str:
    """Register the server above as an image of the local cloud with this state; return its URI."""
    root = state / "test-image"
    root.mkdir(exist_ok=True)
    (root / "server.py").write_text(SERVER)
    store = Store(state / "store.db")
    try:
        images = Images(SimpleNamespace(store=store, state=state))
        return images.register("europe-west4-docker.pkg.dev/tests/apps/server:1", root, [*PYTHON, "server.py"]).uri
    finally:
        store.close()


PYTHON = [sys.executable, "-S", "-E", "-u"]


@dataclass
class Runs:
    """The official clients of one project, and what the tests do with them."""

    project: str
    channel: grpc.Channel
    image: str

    def __post_init__(self) -> None:
        self.parent = f"projects/{self.project}/locations/{LOCATION}"
        self.services = run_v2.ServicesClient(transport=ServicesGrpcTransport(channel=self.channel))
        self.revisions = run_v2.RevisionsClient(transport=RevisionsGrpcTransport(channel=self.channel))
        self.jobs = run_v2.JobsClient(transport=JobsGrpcTransport(channel=self.channel))
        self.executions = run_v2.ExecutionsClient(transport=ExecutionsGrpcTransport(channel=self.channel))
        self.tasks = run_v2.TasksClient(transport=TasksGrpcTransport(channel=self.channel))
        self.secrets = secretmanager_v1.SecretManagerServiceClient(
            transport=SecretManagerServiceGrpcTransport(channel=self.channel)
        )

    def name(self, service: str = "api") -> str:
        return f"{self.parent}/services/{service}"

    def template(self, revision: str = "", *, floor: int = 0, most: int = 4, concurrency: int = 80, command: Any = (),
                 annotations: Any = None, env: Any = None, secret: str = "", version: str = "latest",
                 timeout: float = 300) -> run_v2.RevisionTemplate:  # fmt: skip
        variables = [run_v2.EnvVar(name=key, value=value) for key, value in (env or {}).items()]
        if secret:
            reference = run_v2.SecretKeySelector(secret=secret, version=version)
            variables.append(
                run_v2.EnvVar(name="SECRET", value_source=run_v2.EnvVarSource(secret_key_ref=reference))
            )
        return run_v2.RevisionTemplate(
            revision=revision, max_instance_request_concurrency=concurrency, timeout=seconds(timeout),
            scaling=run_v2.RevisionScaling(min_instance_count=floor, max_instance_count=most),
            containers=[run_v2.Container(image=self.image, command=list(command), env=variables)],
            annotations=annotations or {},
        )  # fmt: skip

    def create(self, service: str = "api", template: Any = None, traffic: Any = ()) -> run_v2.Service:
        wanted = run_v2.Service(template=template or self.template("api-one"), traffic=list(traffic))
        return done(self.services.create_service(parent=self.parent, service_id=service, service=wanted))

    def deploy(self, template: Any, service: str = "api") -> run_v2.Service:
        """A new template, and nothing but that."""
        wanted = run_v2.Service(name=self.name(service), template=template)
        return self.update(wanted, "template")

    def route(self, *targets: run_v2.TrafficTarget, service: str = "api") -> run_v2.Service:
        """A new traffic list, and nothing but that."""
        return self.update(run_v2.Service(name=self.name(service), traffic=list(targets)), "traffic")

    def update(self, service: run_v2.Service, *paths: str, **options: Any) -> run_v2.Service:
        request = run_v2.UpdateServiceRequest(service=service, update_mask=FieldMask(paths=paths), **options)
        return done(self.services.update_service(request))

    def get(self, service: str = "api") -> run_v2.Service:
        return self.services.get_service(name=self.name(service))

    def revision(self, revision: str, service: str = "api") -> run_v2.Revision:
        return self.revisions.get_revision(name=f"{self.name(service)}/revisions/{revision}")

    def secret(self, name: str, value: bytes) -> str:
        """A secret with one version; the version's name."""
        secret = secretmanager_v1.Secret(replication={"automatic": {}})
        made = self.secrets.create_secret(parent=f"projects/{self.project}", secret_id=name, secret=secret)
        return self.secrets.add_secret_version(parent=made.name, payload={"data": value}).name

    def job(self, code: str, *, tasks: int = 1, parallelism: int = 0, retries: int | None = 0, timeout: float = 60,
            name: str = "job", labels: Any = None, secret: str = "") -> run_v2.Job:  # fmt: skip
        container = run_v2.Container(image=self.image, command=[*PYTHON, "-c", code])
        if secret:
            reference = run_v2.SecretKeySelector(secret=secret, version="latest")
            container.env = [run_v2.EnvVar(name="SECRET", value_source=run_v2.EnvVarSource(secret_key_ref=reference))]
        template = run_v2.TaskTemplate(containers=[container], timeout=seconds(timeout))
        if retries is not None:
            template.max_retries = retries
        wanted = run_v2.Job(
            labels=labels or {},
            template=run_v2.ExecutionTemplate(
                task_count=tasks, parallelism=parallelism, template=template, labels=labels or {}
            ),
        )
        return done(self.jobs.create_job(parent=self.parent, job_id=name, job=wanted))

    def execution(self, job: str = "job") -> run_v2.Execution:
        """The newest execution of a job."""
        return next(iter(self.executions.list_executions(parent=f"{self.parent}/jobs/{job}")))


def done(operation: Any, timeout: float = 60) -> Any:
    """Follow an operation closely to its end: its result, or the error that it raises."""
    deadline = time.monotonic() + timeout
    while not operation.done():
        assert time.monotonic() < deadline, "the operation did not end"
        time.sleep(0.01)
    return operation.result(timeout=1)


def to(revision: str, percent: int = 100, tag: str = "") -> run_v2.TrafficTarget:
    return run_v2.TrafficTarget(type_=REVISION, revision=revision, percent=percent, tag=tag)


def latest(percent: int = 100, tag: str = "") -> run_v2.TrafficTarget:
    return run_v2.TrafficTarget(type_=LATEST, percent=percent, tag=tag)


def seconds(amount: float) -> Duration:
    return Duration(seconds=int(amount), nanos=int(amount % 1 * 1e9))


def text(url: str, path: str = "/", **options: Any) -> str:
    return httpx.get(url + path, timeout=30, **options).text


def eventually(what: Any, timeout: float = 10) -> Any:
    """The first true value that the function gives."""
    deadline = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value
