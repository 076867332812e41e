"""google.cloud.run.v2.Revisions, and how a revision's instances are made.

Safety property: a revision that can be reached, by traffic or by tag, or that is the newest, is never deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2

from localcloud.rpc import Servicer, rpc
from localcloud.run.book import Book, check_etag, listed, not_found, validated
from localcloud.run.conditions import now
from localcloud.run.containers import container_port, prepared
from localcloud.run.fleets import PENDING_SECONDS, Fleet, Scale
from localcloud.run.instances import Blueprint, Workshop
from localcloud.run.names import Name, parse
from localcloud.run.output import Source
from localcloud.run.probes import DEFAULT_STARTUP, Probe
from localcloud.run.request_log import revision_resource

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.run.engine import Engine

#: How long an instance above the minimum stays without requests.
IDLE_SECONDS = 60.0
#: Annotations of a template that set, for one revision, what Google decides by itself.
IDLE_ANNOTATION = "localcloud/idle-seconds"
PENDING_ANNOTATION = "localcloud/pending-seconds"


class Revisions(Servicer):
    """The revisions of all services."""

    service = "google.cloud.run.v2.Revisions"

    def __init__(self, cloud: Cloud, book: Book, engine: Engine) -> None:
        self._operations, self._book, self._engine = cloud.operations, book, engine
        cloud.operations.register("run.delete-revision", self._delete)

    @rpc("GetRevision", run_v2.GetRevisionRequest, run_v2.Revision, writes=False, resource=lambda r: r.name)
    def get_revision(self, request: Any) -> Any:
        return self._book.revision(parse(request.name, "services", "revisions"))

    @rpc("ListRevisions", run_v2.ListRevisionsRequest, run_v2.ListRevisionsResponse, writes=False,
         resource=lambda r: r.parent)
    def list_revisions(self, request: Any) -> Any:
        """Newest first. ``-`` stands for every location or every service."""
        parent = parse(request.parent, "services")
        everywhere = self._book.revisions.list(f"projects/{parent.project}/locations/")
        found = [revision for revision in everywhere if _under(revision.name, parent)]
        found.sort(key=_created, reverse=True)
        revisions, token = listed(found, request)
        return run_v2.ListRevisionsResponse(revisions=revisions, next_page_token=token)

    @rpc("DeleteRevision", run_v2.DeleteRevisionRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: r.name)
    def delete_revision(self, request: Any) -> Any:
        name = parse(request.name, "services", "revisions")
        with self._book.transaction():
            revision = self._book.revision(name)
            check_etag(request.etag, revision.etag, request.name)
            self._check_unused(name, revision)
            revision.delete_time = now()
            if request.validate_only:
                return validated(revision)
            self._book.revisions.delete(str(name))
            self._book.templates.delete(str(name))
            payload = {"revision": run_v2.Revision.to_json(revision)}
            operation = self._operations.start(name.parent, "run.delete-revision", payload, revision)
        self._operations.submit(operation.name)
        return operation

    def _check_unused(self, name: Name, revision: Any) -> None:
        service = self._book.services.get(str(name.top))
        if service is None:
            raise not_found("SERVICE", name, name.id)
        if service.latest_created_revision == revision.name:
            why = "because it is the latest created Revision of its Service"
        elif revision.name in self._book.route(str(name.top)).revisions:
            why = "because it is actively serving traffic or has a traffic tag"
        else:
            return
        raise exceptions.FailedPrecondition(f"Revision '{name.rest.rpartition('/')[2]}' cannot be deleted {why}.")

    def _delete(self, operation: str, payload: dict[str, Any]) -> Any:
        revision = run_v2.Revision.from_json(payload["revision"])
        self._engine.call(self._engine.drop(revision.name))
        return revision


def fleet_of(cloud: Cloud, book: Book, full_name: str, workshop: Workshop) -> tuple[Fleet, float]:
    """The fleet and the request timeout (seconds) of a revision."""
    revision = book.revisions.get(full_name)
    if revision is None:
        raise LookupError(f"no revision {full_name}")
    name = parse(full_name, "services", "revisions")
    return (
        Fleet(full_name, _blueprint(cloud, name, revision), _scale(revision), workshop),
        revision.timeout.total_seconds(),
    )


def _blueprint(cloud: Cloud, name: Name, revision: Any) -> Blueprint:
    container = revision.containers[0]
    short = name.rest.rpartition("/")[2]
    own = {"K_SERVICE": name.id, "K_REVISION": short, "K_CONFIGURATION": name.id}
    return Blueprint(
        prepare=lambda: prepared(cloud, name.project, container, own),
        source=Source(name.project, revision_resource(name.top, short)),
        declared_port=container_port(container),
        startup=Probe.of(container.startup_probe) if "startup_probe" in container else DEFAULT_STARTUP,
        liveness=Probe.of(container.liveness_probe) if "liveness_probe" in container else None,
    )


def _scale(revision: Any) -> Scale:
    return Scale(
        floor=revision.scaling.min_instance_count,
        most=revision.scaling.max_instance_count,
        concurrency=revision.max_instance_request_concurrency,
        idle_seconds=float(revision.annotations.get(IDLE_ANNOTATION, IDLE_SECONDS)),
        pending_seconds=float(revision.annotations.get(PENDING_ANNOTATION, PENDING_SECONDS)),
    )


def _under(full_name: str, parent: Name) -> bool:
    name = parse(full_name, "services", "revisions")
    return parent.location in ("-", name.location) and parent.id in ("-", name.id)


def _created(revision: Any) -> datetime:
    return revision.create_time  # type: ignore[no-any-return]
