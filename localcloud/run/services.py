"""google.cloud.run.v2.Services: what users write, checked and written down; the deployer does the rest.

Safety property: a write is checked in whole before anything of it is stored, and a stale etag changes nothing.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import field_mask_pb2, json_format

from localcloud.rpc import Servicer, rpc
from localcloud.run import templates, traffic
from localcloud.run.book import Book, check_etag, listed, validated
from localcloud.run.conditions import State, condition, now
from localcloud.run.containers import check_tags, unsupported
from localcloud.run.deployer import Deployer
from localcloud.run.names import Name, check_id, parse, parse_parent, suffix

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

#: What a user may set; everything else of a service in a request is ignored.
_WRITABLE = (
    "description", "labels", "annotations", "client", "client_version", "ingress", "launch_stage", "template",
    "traffic", "scaling", "invoker_iam_disabled", "custom_audiences",
)  # fmt: skip


class Services(Servicer):
    """The services of all projects."""

    service = "google.cloud.run.v2.Services"

    def __init__(self, cloud: Cloud, book: Book, deployer: Deployer) -> None:
        self._cloud, self._operations, self._book, self._deployer = cloud, cloud.operations, book, deployer
        cloud.operations.register("run.deploy", deployer.deploy)
        cloud.operations.register("run.delete-service", self._delete)

    @rpc("GetService", run_v2.GetServiceRequest, run_v2.Service, writes=False, resource=lambda r: r.name)
    def get_service(self, request: Any) -> Any:
        return self._book.service(parse(request.name, "services"))

    @rpc("ListServices", run_v2.ListServicesRequest, run_v2.ListServicesResponse, writes=False,
         resource=lambda r: r.parent)
    def list_services(self, request: Any) -> Any:
        """By name. The location ``-`` stands for every location."""
        project, location = parse_parent(request.parent)
        prefix = f"projects/{project}/locations/{'' if location == '-' else location + '/'}"
        services, token = listed(self._book.services.list(prefix), request)
        return run_v2.ListServicesResponse(services=services, next_page_token=token)

    @rpc("CreateService", run_v2.CreateServiceRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: f"{r.parent}/services/{r.service_id}")
    def create_service(self, request: Any) -> Any:
        project, location = parse_parent(request.parent)
        check_id("service_id", request.service_id)
        name = Name(project, location, "services", request.service_id)
        with self._book.transaction():
            if self._book.services.get(str(name)) is not None:
                raise exceptions.AlreadyExists(f"Resource '{name.id}' already exists.")
            operation = self._create(name, request.service, dry=request.validate_only)
        return self._submitted(operation)

    @rpc("UpdateService", run_v2.UpdateServiceRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: r.service.name)
    def update_service(self, request: Any) -> Any:
        """Replace what the mask names, or without a mask everything that a user may set."""
        name = parse(request.service.name, "services")
        with self._book.transaction():
            current = self._book.services.get(str(name))
            if current is None and request.allow_missing:
                operation = self._create(name, request.service, dry=request.validate_only)
            else:
                current = self._book.service(name)
                check_etag(request.service.etag, current.etag, str(name))
                wanted = merged(current, request.service, list(request.update_mask.paths))
                operation = self._put(name, wanted, current, dry=request.validate_only)
        return self._submitted(operation)

    @rpc("DeleteService", run_v2.DeleteServiceRequest, operations_pb2.Operation, writes=True, resource=lambda r: r.name)
    def delete_service(self, request: Any) -> Any:
        name = parse(request.name, "services")
        with self._book.transaction():
            service = self._book.service(name)
            check_etag(request.etag, service.etag, str(name))
            service.delete_time = now()
            if request.validate_only:
                return validated(service)
            payload = {"service": run_v2.Service.to_json(service), "revisions": self._book.erase(str(name))}
            operation = self._operations.start(name.parent, "run.delete-service", payload, service)
        return self._submitted(operation)

    @rpc("GetIamPolicy", iam_policy_pb2.GetIamPolicyRequest, policy_pb2.Policy, writes=False,
         resource=lambda r: r.resource)
    def get_iam_policy(self, request: Any) -> Any:
        self._book.service(parse(request.resource, "services"))
        return json_format.ParseDict(self._book.policies.get(request.resource) or {}, policy_pb2.Policy())

    @rpc("SetIamPolicy", iam_policy_pb2.SetIamPolicyRequest, policy_pb2.Policy, writes=True,
         resource=lambda r: r.resource)
    def set_iam_policy(self, request: Any) -> Any:
        """Keep a policy. It is not enforced: whoever reaches the loopback port may call the service."""
        with self._book.transaction():
            self._book.service(parse(request.resource, "services"))
            policy = policy_pb2.Policy()
            policy.CopyFrom(request.policy)
            policy.etag = uuid.uuid4().bytes
            self._book.policies.put(request.resource, json_format.MessageToDict(policy))
        return policy

    @rpc("TestIamPermissions", iam_policy_pb2.TestIamPermissionsRequest, iam_policy_pb2.TestIamPermissionsResponse,
         writes=False, resource=lambda r: r.resource)
    def test_iam_permissions(self, request: Any) -> Any:
        """Every permission is granted: the local cloud has one user."""
        self._book.service(parse(request.resource, "services"))
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=request.permissions)

    def _create(self, name: Name, asked: Any, *, dry: bool) -> operations_pb2.Operation:
        wanted = merged(run_v2.Service(), asked, [])
        wanted.name, wanted.uid, wanted.creator = str(name), str(uuid.uuid4()), templates.CREATOR
        wanted.create_time = now()
        return self._put(name, wanted, None, dry=dry)

    def _put(self, name: Name, wanted: Any, current: Any, *, dry: bool) -> operations_pb2.Operation:
        wanted.template, wanted.traffic = templates.filled(wanted.template), traffic.filled(wanted.traffic)
        _check(name, wanted)
        revision = self._revision(name, wanted, current)
        wanted.generation += 1
        wanted.update_time, wanted.last_modifier, wanted.etag = now(), templates.CREATOR, templates.new_etag()
        wanted.reconciling = True
        wanted.terminal_condition = condition("Ready", State.CONDITION_RECONCILING, "Deploying Revision.")
        if dry:
            return validated(wanted)
        if revision is not None:
            wanted.latest_created_revision = self._add(name, revision, wanted)
        self._book.services.put(str(name), wanted)
        return self._operations.start(name.parent, "run.deploy", {"service": str(name)}, wanted)

    def _revision(self, name: Name, wanted: Any, current: Any) -> str | None:
        """The short name of the revision that this write makes the newest; None when the newest stays."""
        asked = wanted.template.revision
        if not asked:
            unchanged = current is not None and wanted.template == current.template
            return None if unchanged else ""
        existing = self._book.templates.get(f"{name}/revisions/{asked}")
        if existing is not None and not templates.same(existing, wanted.template):
            raise exceptions.AlreadyExists(f"Revision named '{asked}' with different configuration already exists.")
        return str(asked)

    def _add(self, name: Name, short: str, wanted: Any) -> str:
        short = short or f"{name.id}-{self._book.next_revision_number(str(name)):05d}-{suffix(3)}"
        full = f"{name}/revisions/{short}"
        if self._book.revisions.get(full) is None:
            revision = templates.revision_of(name, short, wanted.template, wanted.generation)
            self._pin_image(revision)
            self._book.revisions.put(full, revision)
            self._book.templates.put(full, wanted.template)
        return full

    def _pin_image(self, revision: Any) -> None:
        # A revision is immutable: a tag is resolved now, once. An image that is not there fails when it is started.
        try:
            image = self._cloud.images.resolve(revision.containers[0].image)
        except exceptions.NotFound:
            return
        revision.containers[0].image = image.uri

    def _submitted(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        if not operation.done:
            self._operations.submit(operation.name)
        return operation

    def _delete(self, operation: str, payload: dict[str, Any]) -> Any:
        service = run_v2.Service.from_json(payload["service"])
        name = parse(service.name, "services")
        self._deployer.remove(name, payload["revisions"], gone=self._book.services.get(str(name)) is None)
        return service


def merged(current: Any, asked: Any, paths: list[str]) -> Any:
    """The service as it was, with what the mask names (or everything writable) taken from the request.

    Raises InvalidArgument for a mask that names no writable field.
    """
    made, source = run_v2.Service.pb(run_v2.Service(current)), run_v2.Service.pb(asked)
    mask = field_mask_pb2.FieldMask(paths=[_snake(path) for path in paths] if paths and paths != ["*"] else _WRITABLE)
    unknown = [path for path in mask.paths if path.partition(".")[0] not in made.DESCRIPTOR.fields_by_name]
    if unknown:
        raise exceptions.InvalidArgument(f"update_mask: '{unknown[0]}' is not a field of a Service.")
    writable = [path for path in mask.paths if path.partition(".")[0] in _WRITABLE]
    field_mask_pb2.FieldMask(paths=writable).MergeMessage(
        source, made, replace_message_field=True, replace_repeated_field=True
    )
    return run_v2.Service.wrap(made)


def _snake(path: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in path)


def _check(name: Name, service: Any) -> None:
    check_tags(service.labels, service.annotations)
    if service.scaling.scaling_mode == run_v2.ServiceScaling.ScalingMode.MANUAL:
        raise unsupported("manual scaling")
    if service.scaling.min_instance_count or service.scaling.max_instance_count:
        raise unsupported("scaling of a whole service; set template.scaling")
    templates.check(name, service.template)
    traffic.check(service.traffic)

