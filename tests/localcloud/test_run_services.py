"""Services and revisions: what is written, what becomes of it, what is refused."""

from __future__ import annotations

import grpc
import httpx
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from tests.conftest import LocalCloud
from tests.localcloud.runs import Runs, done, eventually, latest, server_image, text, to

State = run_v2.Condition.State


@pytest.fixture
def runs(local_cloud: LocalCloud, project: str, channel: grpc.Channel) -> Runs:
    return Runs(project, channel, server_image(local_cloud.state))


def test_a_created_service_answers_at_its_url(runs: Runs) -> None:
    service = runs.create()
    assert text(service.uri) == "api-one"
    assert service.urls == [service.uri]
    assert service.terminal_condition.type_ == "Ready"
    assert service.terminal_condition.state == State.CONDITION_SUCCEEDED
    assert service.latest_ready_revision == service.latest_created_revision == f"{service.name}/revisions/api-one"
    assert service.observed_generation == service.generation == 1
    assert not service.reconciling
    assert [(s.percent, s.revision) for s in service.traffic_statuses] == [(100, "")]


def test_a_revision_without_a_name_gets_a_numbered_one(runs: Runs) -> None:
    first = runs.create(template=runs.template()).latest_created_revision.rpartition("/")[2]
    second = runs.deploy(runs.template(env={"A": "b"})).latest_created_revision.rpartition("/")[2]
    assert first.startswith("api-00001-")
    assert second.startswith("api-00002-")


def test_a_container_gets_its_own_environment_and_nothing_of_the_local_clouds(runs: Runs) -> None:
    service = runs.create(template=runs.template("api-one", env={"COLOUR": "green"}))
    env = httpx.get(service.uri + "/env").json()
    assert (env["COLOUR"], env["K_SERVICE"], env["K_REVISION"], env["K_CONFIGURATION"]) == (
        "green", "api", "api-one", "api",
    )  # fmt: skip
    assert not {"HOME", "USER", "PYTHONPATH"} & set(env)
    assert text(service.uri, "/cwd").endswith("/test-image")


def test_a_write_of_an_unchanged_template_makes_no_revision(runs: Runs) -> None:
    service = runs.create(template=runs.template())
    service.annotations["note"] = "hello"
    service.labels["team"] = "a"
    again = runs.update(service)
    assert again.latest_created_revision == service.latest_created_revision
    assert (again.annotations["note"], again.labels["team"]) == ("hello", "a")
    assert again.generation == 2
    assert again.etag != service.etag


def test_a_named_revision_is_adopted_when_it_is_equal_and_refused_when_it_differs(runs: Runs) -> None:
    runs.create(template=runs.template("api-one"))
    runs.deploy(runs.template("api-two", env={"A": "1"}))
    assert runs.deploy(runs.template("api-one")).latest_created_revision.endswith("/api-one")
    with pytest.raises(exceptions.AlreadyExists, match="'api-two' with different configuration already exists"):
        runs.deploy(runs.template("api-two", env={"A": "2"}))
    assert len(list(runs.revisions.list_revisions(parent=runs.name()))) == 2


def test_a_stale_etag_changes_nothing(runs: Runs) -> None:
    service = runs.create()
    runs.update(run_v2.Service(name=service.name, description="newer"), "description")
    service.description = "older"
    with pytest.raises(exceptions.Aborted, match="Conflict for resource 'api'"):
        runs.update(service, "description")
    assert runs.get().description == "newer"
    with pytest.raises(exceptions.Aborted):
        done(runs.services.delete_service(run_v2.DeleteServiceRequest(name=service.name, etag=service.etag)))


def test_validate_only_writes_nothing(runs: Runs) -> None:
    request = run_v2.CreateServiceRequest(
        parent=runs.parent, service_id="api", service=run_v2.Service(template=runs.template()), validate_only=True
    )
    assert done(runs.services.create_service(request)).template.timeout.total_seconds() == 300
    assert not list(runs.services.list_services(parent=runs.parent))
    before = runs.create()
    asked = run_v2.Service(name=before.name, description="no")
    assert runs.update(asked, "description", validate_only=True).description == "no"
    assert runs.get() == before


def test_allow_missing_creates(runs: Runs) -> None:
    with pytest.raises(exceptions.NotFound, match="of kind 'SERVICE' in region"):
        runs.update(run_v2.Service(name=runs.name(), template=runs.template("api-one")))
    made = runs.update(run_v2.Service(name=runs.name(), template=runs.template("api-one")), allow_missing=True)
    assert text(made.uri) == "api-one"


def test_an_update_mask_leaves_the_rest_alone_and_no_mask_replaces_it(runs: Runs) -> None:
    runs.create(template=runs.template("api-one", env={"A": "1"}))
    changed = runs.update(run_v2.Service(name=runs.name(), description="d", labels={"a": "b"}), "description")
    assert (changed.description, dict(changed.labels)) == ("d", {})
    replaced = runs.update(run_v2.Service(name=runs.name(), template=changed.template, labels={"a": "b"}))
    assert (replaced.description, dict(replaced.labels)) == ("", {"a": "b"})
    with pytest.raises(exceptions.InvalidArgument, match="nonsense"):
        runs.update(run_v2.Service(name=runs.name()), "nonsense")


def test_a_revision_that_crashes_at_start_never_serves(runs: Runs) -> None:
    service = runs.create()
    with pytest.raises(exceptions.FailedPrecondition) as caught:
        runs.deploy(runs.template("api-bad", env={"CRASH": "1"}))
    assert caught.value.message.startswith(
        "Revision 'api-bad' is not ready and cannot serve traffic. The user-provided container failed to start and "
        "listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout."
    )
    after = runs.get()
    assert text(after.uri) == "api-one"
    assert after.terminal_condition.state == State.CONDITION_FAILED
    assert after.latest_ready_revision == service.latest_ready_revision
    assert after.latest_created_revision.endswith("/api-bad")
    ready = next(c for c in runs.revision("api-bad").conditions if c.type_ == "Ready")
    assert ready.state == State.CONDITION_FAILED
    with pytest.raises(exceptions.FailedPrecondition, match="api-bad"):
        runs.route(to("api-bad"))
    assert text(after.uri) == "api-one"
    with pytest.raises(exceptions.FailedPrecondition, match="api-bad"):
        runs.deploy(runs.template("api-good", env={"A": "1"}))  # the traffic list still asks for the bad one
    assert text(after.uri) == "api-one"
    assert runs.route(latest()).terminal_condition.state == State.CONDITION_SUCCEEDED
    assert text(after.uri) == "api-good"


def test_a_container_that_never_listens_fails_after_its_startup_probe(runs: Runs) -> None:
    template = runs.template("api-one", env={"START_SECONDS": "30"})
    template.containers[0].startup_probe = run_v2.Probe(
        period_seconds=1, timeout_seconds=1, failure_threshold=1, tcp_socket=run_v2.TCPSocketAction()
    )
    with pytest.raises(exceptions.FailedPrecondition, match="within the allocated timeout"):
        runs.create(template=template)


def test_an_http_startup_probe_must_answer_well(runs: Runs) -> None:
    template = runs.template("api-one")
    probe = run_v2.Probe(period_seconds=1, failure_threshold=1, http_get=run_v2.HTTPGetAction(path="/?status=503"))
    template.containers[0].startup_probe = probe
    with pytest.raises(exceptions.FailedPrecondition, match="api-one"):
        runs.create(template=template)
    template.revision = "api-two"
    template.containers[0].startup_probe.http_get.path = "/?status=302"
    assert text(runs.deploy(template).uri) == "api-two"


def test_an_image_that_is_not_there_makes_a_failed_revision(runs: Runs) -> None:
    template = runs.template("api-one")
    template.containers[0].image = "europe-west4-docker.pkg.dev/tests/apps/nothing:1"
    with pytest.raises(exceptions.FailedPrecondition, match=r"Image 'europe-west4.*' not found"):
        runs.create(template=template)
    assert httpx.get(runs.get().uri).status_code == 404


def test_a_disabled_secret_stops_an_instance_from_starting(runs: Runs) -> None:
    version = runs.secret("token", b"s3cret")
    service = runs.create(template=runs.template("api-one", floor=1, secret="token"))
    assert httpx.get(service.uri + "/env").json()["SECRET"] == "s3cret"
    runs.secrets.disable_secret_version(name=version)
    with pytest.raises(exceptions.FailedPrecondition, match=r"containers\[0\].env\[0\].value_from.secret_key_ref.name"):
        runs.deploy(runs.template("api-two", secret="token", version="1"))
    assert text(service.uri) == "api-one"
    with pytest.raises(exceptions.FailedPrecondition, match="secret_key_ref"):
        runs.deploy(runs.template("api-three", secret="nothing"))


def test_what_cannot_be_right_is_refused(runs: Runs) -> None:
    for template, message in [
        (runs.template("other-one"), "must be prefixed by the name"),
        (runs.template(env={"PORT": "1"}), "reserved env names"),
        (run_v2.RevisionTemplate(labels={"a": "b"}), "at least one container"),
        (runs.template(floor=3, most=2), "min_instance_count"),
    ]:
        with pytest.raises(exceptions.InvalidArgument, match=message):
            runs.create(template=template)
    with pytest.raises(exceptions.InvalidArgument, match="service_id"):
        runs.create("Api")
    sidecar = runs.template()
    sidecar.containers.append(run_v2.Container(image=runs.image))
    with pytest.raises(exceptions.MethodNotImplemented, match="more than one container"):
        runs.create(template=sidecar)
    assert not list(runs.services.list_services(parent=runs.parent))


def test_lists_have_pages_and_every_location(runs: Runs) -> None:
    for service in ("a", "b", "c"):
        runs.create(service, runs.template())
    with pytest.raises(exceptions.AlreadyExists, match="'a' already exists"):
        runs.create("a", runs.template())
    everywhere = f"projects/{runs.project}/locations/-"
    request = run_v2.ListServicesRequest(parent=everywhere, page_size=2)
    pages = list(runs.services.list_services(request=request).pages)
    assert [[s.name.rpartition("/")[2] for s in page.services] for page in pages] == [["a", "b"], ["c"]]
    assert len(list(runs.revisions.list_revisions(parent=f"{everywhere}/services/-"))) == 3
    assert len(list(runs.revisions.list_revisions(parent=runs.name("b")))) == 1


def test_a_revision_is_deleted_only_when_nothing_needs_it(runs: Runs) -> None:
    runs.create(template=runs.template("api-one"), traffic=[latest()])
    runs.deploy(runs.template("api-two", env={"A": "2"}))
    runs.deploy(runs.template("api-three", env={"A": "3"}))
    runs.route(to("api-two"), to("api-one", 0, "old"))
    for revision, why in [("api-one", "tag"), ("api-two", "traffic"), ("api-three", "latest created")]:
        with pytest.raises(exceptions.FailedPrecondition, match=why):
            runs.revisions.delete_revision(name=f"{runs.name()}/revisions/{revision}")
    runs.route(to("api-two"))
    assert done(runs.revisions.delete_revision(name=f"{runs.name()}/revisions/api-one")).delete_time
    with pytest.raises(exceptions.NotFound):
        runs.revision("api-one")


def test_a_deleted_service_is_gone_and_its_name_is_free_again(runs: Runs) -> None:
    service = runs.create()
    assert text(service.uri) == "api-one"
    assert done(runs.services.delete_service(name=service.name)).delete_time
    with pytest.raises(exceptions.NotFound):
        runs.get()
    with pytest.raises(httpx.TransportError):
        text(service.uri)
    assert not list(runs.revisions.list_revisions(parent=runs.name()))
    assert text(runs.create().uri) == "api-one"


def test_an_invoker_binding_is_kept(runs: Runs) -> None:
    name = runs.create().name
    policy = policy_pb2.Policy(bindings=[policy_pb2.Binding(role="roles/run.invoker", members=["allUsers"])])
    runs.services.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy))
    kept = runs.services.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=name))
    assert [(b.role, list(b.members)) for b in kept.bindings] == [("roles/run.invoker", ["allUsers"])]


def test_what_a_container_prints_is_logged(runs: Runs, local_cloud: LocalCloud) -> None:
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
    from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport

    service = runs.create()
    httpx.get(service.uri + "/print", params={"line": '{"severity":"WARNING","message":"careful","n":7}'})
    httpx.get(service.uri + "/?status=503", headers={"User-Agent": "tester"})
    client = LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=runs.channel))

    def entries(log: str) -> list:
        wanted = f'logName="projects/{runs.project}/logs/run.googleapis.com%2F{log}"'
        return list(client.list_log_entries({"resource_names": [f"projects/{runs.project}"], "filter": wanted}))

    printed = eventually(lambda: entries("stdout"))[0]
    assert (printed.severity, printed.json_payload["message"], printed.json_payload["n"]) == (400, "careful", 7)
    assert printed.resource.labels["revision_name"] == "api-one"
    requests = eventually(lambda: len(found := entries("requests")) == 2 and found)
    failed = next(entry for entry in requests if entry.http_request.status == 503)
    assert failed.http_request.user_agent == "tester"
    assert failed.http_request.request_url == service.uri + "/?status=503"
    assert failed.trace.startswith(f"projects/{runs.project}/traces/")


def test_nothing_that_is_missing_is_faked(runs: Runs) -> None:
    from google.cloud.run_v2.services.worker_pools.transports import WorkerPoolsGrpcTransport

    pools = run_v2.WorkerPoolsClient(transport=WorkerPoolsGrpcTransport(channel=runs.channel))
    with pytest.raises(exceptions.MethodNotImplemented, match=r"WorkerPools/GetWorkerPool"):
        pools.get_worker_pool(name=f"{runs.parent}/workerPools/x")


def test_a_field_mask_may_name_a_field_inside_the_template(runs: Runs) -> None:
    service = runs.create(template=runs.template())
    asked = run_v2.Service(name=service.name)
    asked.template.scaling.min_instance_count = 1
    asked.template.scaling.max_instance_count = 2
    request = run_v2.UpdateServiceRequest(service=asked, update_mask=FieldMask(paths=["template.scaling"]))
    changed = done(runs.services.update_service(request))
    assert changed.template.containers[0].image == runs.image
    assert changed.template.scaling.min_instance_count == 1
