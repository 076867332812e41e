"""Where Cloud Run's resources are kept, and how they are found or not found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2

from localcloud.operations import packed
from localcloud.pages import page
from localcloud.run.names import Name
from localcloud.run.routes import Route
from localcloud.store import Store

Item = TypeVar("Item")
_PAGE_SIZE = 100
_MOST_PER_PAGE = 1000


class Book:
    """Services and revisions with what only the local cloud knows of them: templates, routes, counts, policies."""

    def __init__(self, store: Store) -> None:
        self.transaction = store.transaction
        self.services = store.messages("run.services", run_v2.Service)
        self.revisions = store.messages("run.revisions", run_v2.Revision)
        self.templates = store.messages("run.templates", run_v2.RevisionTemplate)
        self.policies = store.documents("run.policies")
        self._routes = store.documents("run.routes")
        self._counts = store.documents("run.revision-counts")

    def service(self, name: Name) -> Any:
        """A service. Raises NotFound."""
        found = self.services.get(str(name))
        if found is None:
            raise not_found("SERVICE", name, name.id)
        return found

    def revision(self, name: Name) -> Any:
        """A revision. Raises NotFound."""
        found = self.revisions.get(str(name))
        if found is None:
            raise not_found("REVISION", name, name.rest.rpartition("/")[2])
        return found

    def revisions_of(self, service: str) -> dict[str, Any]:
        """A service's revisions by full name."""
        return {revision.name: revision for revision in self.revisions.list(f"{service}/revisions/")}

    def route(self, service: str) -> Route:
        """The route in place; an empty one where none was ever put."""
        found = self._routes.get(service)
        return Route.load(found) if found else Route()

    def put_route(self, service: str, route: Route) -> None:
        self._routes.put(service, route.document())

    def next_revision_number(self, service: str) -> int:
        number = int((self._counts.get(service) or {"last": 0})["last"]) + 1
        self._counts.put(service, {"last": number})
        return number

    def erase(self, service: str) -> list[str]:
        """Remove a service and its revisions; return the names of the revisions. Call it in a transaction."""
        revisions = list(self.revisions_of(service))
        for name in revisions:
            self.revisions.delete(name)
            self.templates.delete(name)
        for documents in (self._routes, self._counts, self.policies):
            documents.delete(service)
        self.services.delete(service)
        return revisions


def not_found(kind: str, name: Name, identifier: str) -> exceptions.NotFound:
    """Google's words for a resource that is not there."""
    return exceptions.NotFound(
        f"Resource '{identifier}' of kind '{kind}' in region '{name.location}' in project '{name.project}' does not "
        "exist."
    )


def check_etag(given: str, current: str, name: str) -> None:
    """Refuse a write that was based on an older version. An empty etag asks for no check. Raises Aborted."""
    if given and given != current:
        raise exceptions.Aborted(
            f"Conflict for resource '{name.rpartition('/')[2]}': version '{given.strip(chr(34))}' was specified but "
            f"current version is '{current.strip(chr(34))}'."
        )


def listed(items: Sequence[Item], request: Any) -> tuple[list[Item], str]:
    """The page that a list request asks for, and the token of the next."""
    return page(items, request.page_size, request.page_token, default=_PAGE_SIZE, most=_MOST_PER_PAGE)


def validated(resource: Any) -> operations_pb2.Operation:
    """The answer to ``validate_only``: an operation that is over, and was never written down."""
    operation = operations_pb2.Operation(done=True)
    operation.response.CopyFrom(packed(resource))
    operation.metadata.CopyFrom(packed(resource))
    return operation
