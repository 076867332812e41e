"""Cloud Run services and revisions.

Safety property: a change of a service presents the etag that its caller judged; where the service has changed since,
it is refused with ``Conflict``. Fields that a RevisionSpec does not know are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tasks.clients import cloud_run_spec as mapping
from tasks.clients import deadlines
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.google_errors import one_line
from tasks.clients.operations import finish, required_moment, short
from tasks.clients.polling import wait_for
from tasks.errors import Conflict, Missing
from tasks.models import RevisionSpec, RevisionState, ServiceState, Traffic

VIEWER = "roles/run.viewer"
DEVELOPER = "roles/run.developer"
ADMIN = "roles/run.admin"
INVOKER = "roles/run.invoker"
EVERYBODY = "allUsers"


class Services:
    """Services and revisions of one project and region."""

    _google: Google

    def get_service(self, name: str) -> ServiceState:
        """Read a service. Raises Missing."""
        return read_service(self._read_service(name))

    def list_services(self) -> list[ServiceState]:
        """Read every service, to the last page."""
        with self._google.doing(f"listing the services of {self._google.parent}", VIEWER):
            found = self._services.list_services(request={"parent": self._google.parent}, **UNRETRIED)
            return [read_service(service) for service in found]

    def create_service(
        self, name: str, spec: RevisionSpec, *, revision: str, annotations: Mapping[str, str],
        labels: Mapping[str, str], timeout: timedelta = deadlines.REVISION,
    ) -> ServiceState:
        """Create a service whose whole traffic goes to its one revision, by name, and wait until it serves.

        ``revision`` may be empty: then Google names it and the traffic goes to "the latest". Raises Conflict when the
        service exists, PermanentError with Google's words when the revision does not become ready.
        """
        from google.cloud import run_v2

        service = run_v2.Service(labels=dict(labels), annotations=dict(annotations))
        service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL
        mapping.write_template(service.template, spec)
        service.template.revision = revision
        service.traffic = _targets((Traffic(revision=revision, percent=100),))
        request = run_v2.CreateServiceRequest(parent=self._google.parent, service=service, service_id=name)
        self._finish(
            f"creating service {name}", lambda: self._services.create_service(request=request, **UNRETRIED), timeout
        )
        return self.get_service(name)

    def update_service(
        self, current: ServiceState, *, spec: RevisionSpec | None = None, revision: str = "",
        traffic: tuple[Traffic, ...] | None = None, annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None, timeout: timedelta = deadlines.REVISION,
    ) -> ServiceState:
        """Change what is given, keep the rest, and wait until Google is done.

        ``current`` is what the change was judged on; its etag is presented. ``annotations`` and ``labels`` are merged,
        an empty value removes a key. A new ``spec`` makes a revision of the name ``revision`` (empty: Google names it).
        Raises Conflict when the service has changed since, PermanentError when the new revision does not become ready.
        """
        from google.cloud import run_v2

        service = self._unchanged(current)
        if spec is not None:
            mapping.write_template(service.template, spec)
            service.template.revision = revision
        if traffic is not None:
            service.traffic = _targets(traffic)
        service.annotations = _merged(service.annotations, annotations or {})
        service.labels = _merged(service.labels, labels or {})
        request = run_v2.UpdateServiceRequest(service=service)
        what = f"changing service {current.name}" + (f" to revision {revision}" if revision else "")
        self._finish(what, lambda: self._services.update_service(request=request, **UNRETRIED), timeout)
        return self.get_service(current.name)

    def delete_service(self, name: str, timeout: timedelta = deadlines.DELETION) -> None:
        """Delete a service and all its revisions. Deleting what is gone succeeds."""
        request = {"name": self._service_name(name)}
        self._finish_deletion(
            f"deleting service {name}", lambda: self._services.delete_service(request=request, **UNRETRIED), timeout
        )

    def settled(self, name: str, deadline: timedelta = deadlines.REVISION) -> ServiceState:
        """Wait until Google has nothing more to do on a service: what a run does first that lost an answer."""
        return wait_for(
            lambda: self.get_service(name), lambda s: not s.reconciling, deadline, f"service {name} to settle"
        )

    def wait_traffic(
        self, name: str, wanted: tuple[Traffic, ...], deadline: timedelta = deadlines.TRAFFIC
    ) -> ServiceState:
        """Read back until the traffic that is served is the traffic that was asked for."""
        return wait_for(
            lambda: self.get_service(name), lambda s: mapping.same_traffic(wanted, s.traffic_statuses), deadline,
            f"service {name} to serve the traffic asked for",
        )

    def allow_public(self, name: str) -> None:
        """Let anybody call a service. Nothing is written where that is so already."""
        resource = self._service_name(name)
        with self._google.doing(f"opening service {name} to the public", ADMIN):
            policy = self._services.get_iam_policy(request={"resource": resource}, **UNRETRIED)
            if any(b.role == INVOKER and EVERYBODY in b.members for b in policy.bindings):
                return
            policy.bindings.add(role=INVOKER, members=[EVERYBODY])
            self._services.set_iam_policy(request={"resource": resource, "policy": policy}, **UNRETRIED)

    def get_revision(self, service: str, revision: str) -> RevisionState:
        """Read a revision. Raises Missing."""
        name = self._revision_name(service, revision)
        with self._google.doing(f"reading revision {revision}", VIEWER):
            return read_revision(self._revisions.get_revision(request={"name": name}, **UNRETRIED))

    def list_revisions(self, service: str) -> list[RevisionState]:
        """Read every revision of a service, to the last page, newest first."""
        with self._google.doing(f"listing the revisions of {service}", VIEWER):
            found = self._revisions.list_revisions(request={"parent": self._service_name(service)}, **UNRETRIED)
            return sorted((read_revision(r) for r in found), key=lambda r: r.created, reverse=True)

    def delete_revision(self, service: str, revision: str, timeout: timedelta = deadlines.DELETION) -> None:
        """Delete a revision. Deleting what is gone succeeds. Raises Refused while it gets traffic or is the latest."""
        request = {"name": self._revision_name(service, revision)}
        self._finish_deletion(
            f"deleting revision {revision}", lambda: self._revisions.delete_revision(request=request, **UNRETRIED),
            timeout, self._revisions,
        )

    @property
    def _services(self) -> Any:
        from google.cloud import run_v2

        return self._google.client(run_v2.ServicesClient)

    @property
    def _revisions(self) -> Any:
        from google.cloud import run_v2

        return self._google.client(run_v2.RevisionsClient)

    def _service_name(self, name: str) -> str:
        return f"{self._google.parent}/services/{name}"

    def _revision_name(self, service: str, revision: str) -> str:
        return f"{self._service_name(service)}/revisions/{revision}"

    def _read_service(self, name: str) -> Any:
        with self._google.doing(f"reading service {name}", VIEWER):
            return self._services.get_service(request={"name": self._service_name(name)}, **UNRETRIED)

    def _unchanged(self, current: ServiceState) -> Any:
        service = self._read_service(current.name)
        if service.etag != current.etag:
            raise Conflict(
                f"changing service {current.name} failed: it was changed by somebody else since it was read; "
                "run the flow again"
            )
        return service

    def _finish(self, what: str, start: Callable[[], Any], timeout: timedelta, client: Any = None) -> None:
        attempt = self._google.attempt(what, DEVELOPER)
        with self._google.doing(what, DEVELOPER):
            operation = start()
        finish(client or self._services, operation, attempt, timeout)

    def _finish_deletion(self, what: str, start: Callable[[], Any], timeout: timedelta, client: Any = None) -> None:
        try:
            self._finish(what, start, timeout, client)
        except Missing:
            return


def read_service(service: Any) -> ServiceState:
    """Google's message as our value."""
    condition = service.terminal_condition
    return ServiceState(
        name=short(service.name),
        uri=service.uri,
        etag=service.etag,
        ready=condition.state.name == "CONDITION_SUCCEEDED",
        message=one_line(condition.message),
        reconciling=service.reconciling,
        latest_ready=short(service.latest_ready_revision),
        latest_created=short(service.latest_created_revision),
        traffic=mapping.read_traffic(service.traffic),
        traffic_statuses=mapping.read_traffic(service.traffic_statuses),
        template=mapping.read_spec(service.template),
        labels=dict(service.labels),
        annotations=dict(service.annotations),
    )


def read_revision(revision: Any) -> RevisionState:
    """Google's message as our value. ``pending`` is true until Google says that it is ready or never will be."""
    ready = next((c for c in revision.conditions if c.type_ == "Ready"), None)
    state = ready.state.name if ready is not None else "CONDITION_PENDING"
    return RevisionState(
        name=short(revision.name),
        service=short(revision.service),
        spec=mapping.read_spec(revision),
        ready=state == "CONDITION_SUCCEEDED",
        pending=state not in ("CONDITION_SUCCEEDED", "CONDITION_FAILED"),
        message=one_line(ready.message) if ready is not None else "",
        created=required_moment(revision.create_time),
    )


def _targets(lines: tuple[Traffic, ...]) -> list[Any]:
    from google.cloud import run_v2

    return mapping.write_traffic(lines, run_v2.TrafficTarget, run_v2.TrafficTargetAllocationType)


def _merged(present: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in {**present, **changes}.items() if value or key not in changes}
