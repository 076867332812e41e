"""Cloud SQL's own operations: one at a time per instance, polled until DONE.

Safety property: what an operation changes and that it is under way are written down together, before the call is
acknowledged; what a killed or a stopped local cloud left unfinished, the next one runs again from its beginning.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import Operation

from localcloud.pages import page
from localcloud.rpc import Servicer, rpc
from localcloud.sql.names import API, InstanceName, about_instance

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

LOG = logging.getLogger("localcloud.sql")
Type = Operation.SqlOperationType
Status = Operation.SqlOperationStatus

#: Work takes the instance and a JSON payload, may be run again from its beginning, and raises what went wrong.
Work = Callable[[InstanceName, dict[str, Any]], None]

IN_PROGRESS = (
    "Operation failed because another operation was already in progress. "
    "Try your request after the current operation is complete."
)


class Interrupted(BaseException):
    """The local cloud stops under an operation's work: it stays unfinished, and the next start runs it again.

    Not an Exception, so that the engine of long-running operations does not write it down as failed.
    """


class SqlOperations(Servicer):
    """google.cloud.sql.v1.SqlOperationsService, and what starts and ends operations for the other services."""

    service = "google.cloud.sql.v1.SqlOperationsService"

    def __init__(self, cloud: Cloud) -> None:
        self._engine, self._store = cloud.operations, cloud.store
        self._messages = cloud.store.messages("sql.operations", Operation)
        self._busy = cloud.store.documents("sql.busy")
        self._at_once: set[InstanceName] = set()
        self.stopping = threading.Event()

    def register(self, kind: str, work: Work) -> None:
        """Name a piece of work that ``started`` can begin."""
        self._engine.register(kind, lambda _, payload: self._run(work, payload))

    @contextmanager
    def started(self, name: InstanceName, kind: str, type_: IntEnum, payload: dict[str, Any]) -> Iterator[Operation]:
        """Start an operation whose work goes on after the call; the body writes the resources, in one transaction.

        The body may add to the payload. Raises Aborted (HTTP 409) while another operation of it goes on.
        """
        with self._store.transaction():
            self._refuse_if_busy(name)
            operation = _new(name, type_)
            full = _full(name.project, operation.name)
            yield operation
            whole = {**payload, "operation": full, "instance": str(name)}
            running = self._engine.start(f"projects/{name.project}/locations/-", kind, whole)
            self._messages.put(full, operation)
            self._busy.put(str(name), {"operation": full})
        self._engine.submit(running.name)

    @contextmanager
    def at_once(self, name: InstanceName, type_: IntEnum) -> Iterator[Operation]:
        """Hold the instance for work that ends within the call, as Google does for users and databases.

        Raises Aborted (HTTP 409) while another operation of it goes on.
        """
        with self._store.transaction():
            self._refuse_if_busy(name)
            self._at_once.add(name)
        operation = _new(name, type_)
        operation.start_time = operation.insert_time
        try:
            yield operation
            operation.status, operation.end_time = Status.DONE, datetime.now(UTC)
            self._messages.put(_full(name.project, operation.name), operation)
        finally:
            with self._store.transaction():
                self._at_once.discard(name)

    def busy(self, name: InstanceName) -> bool:
        """Whether an operation that goes on by itself is under way on the instance."""
        return self._busy.get(str(name)) is not None

    @rpc("Get", types.SqlOperationsGetRequest, Operation, writes=False,
         resource=lambda r: _full(r.project, r.operation))
    def get(self, request: types.SqlOperationsGetRequest) -> Operation:
        found = self._messages.get(_full(request.project, request.operation))
        if found is None:
            raise exceptions.NotFound("The Cloud SQL instance operation does not exist.")
        return found

    @rpc("List", types.SqlOperationsListRequest, types.OperationsListResponse, writes=False, resource=about_instance)
    def list(self, request: types.SqlOperationsListRequest) -> types.OperationsListResponse:
        """The operations of an instance, or of the whole project when none is named; newest first."""
        found = [
            operation
            for operation in self._messages.list(f"projects/{request.project}/operations/")
            if request.instance in ("", operation.target_id)
        ]
        found.sort(key=lambda operation: operation.insert_time, reverse=True)
        items, token = page(found, request.max_results, request.page_token, default=100, most=1000)
        return types.OperationsListResponse(kind="sql#operationsList", items=items, next_page_token=token)

    def _refuse_if_busy(self, name: InstanceName) -> None:
        if name in self._at_once or self.busy(name):
            raise exceptions.Aborted(IN_PROGRESS)

    def _run(self, work: Work, payload: dict[str, Any]) -> None:
        full, name = payload["operation"], InstanceName.parse(payload["instance"])
        self._advance(full, Status.RUNNING)
        try:
            work(name, payload)
        except Exception as error:
            if self.stopping.is_set():
                raise Interrupted from error
            LOG.exception("operation on %s failed", name)
            self._finish(full, name, getattr(error, "message", str(error)))
            raise
        self._finish(full, name, "")

    def _advance(self, full: str, status: IntEnum) -> None:
        operation = self._load(full)
        operation.status, operation.start_time = status, datetime.now(UTC)
        self._messages.put(full, operation)

    def _finish(self, full: str, name: InstanceName, failure: str) -> None:
        operation = self._load(full)
        operation.status, operation.end_time = Status.DONE, datetime.now(UTC)
        if failure:
            error = types.OperationError(kind="sql#operationError", code="INTERNAL_ERROR", message=failure)
            operation.error = types.OperationErrors(kind="sql#operationErrors", errors=[error])
        with self._store.transaction():
            self._messages.put(full, operation)
            self._busy.delete(str(name))

    def _load(self, full: str) -> Operation:
        operation = self._messages.get(full)
        if operation is None:
            raise RuntimeError(f"operation {full} is not in the store")
        return operation


def _full(project: str, operation: str) -> str:
    return f"projects/{project}/operations/{operation}"


def _new(name: InstanceName, type_: IntEnum) -> Operation:
    identity = str(uuid.uuid4())
    return Operation(
        kind="sql#operation", name=identity, status=Status.PENDING, operation_type=type_, user="local",
        target_id=name.instance, target_project=name.project, target_link=name.link, insert_time=datetime.now(UTC),
        self_link=f"{API}/{_full(name.project, identity)}",
    )  # fmt: skip
