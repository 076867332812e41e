"""Long-running operations that survive the process.

An operation is written down before its call is acknowledged, with the name of the work and a JSON payload. The work is
a function registered under that name which may be run again from its beginning: after a ``kill -9`` the next start runs
every unfinished operation once more.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.api_core import exceptions
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2

from localcloud.rpc import Servicer, rpc, status_of
from localcloud.store import Store

LOG = logging.getLogger("localcloud.operations")

#: Work takes (operation name, payload) and returns the response message (raw protobuf or proto-plus) or None.
Work = Callable[[str, dict[str, Any]], Any]


class Operations(Servicer):
    """google.longrunning.Operations for every API that uses it."""

    service = "google.longrunning.Operations"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = store.documents("operations")
        self._bodies = store
        self._work: dict[str, Work] = {}
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="operation")
        self._done: dict[str, threading.Event] = {}

    def register(self, kind: str, work: Work) -> None:
        """Name a piece of work; ``work`` must be safe to run again from its beginning."""
        self._work[kind] = work

    def start(self, parent: str, kind: str, payload: dict[str, Any], metadata: Any = None) -> operations_pb2.Operation:
        """Write an operation down and begin it. ``parent`` is ``projects/P/locations/L``.

        Call it inside the transaction that writes the resource: the work is only begun by ``submit`` of the returned
        name, or at the next start of the process.
        """
        name = f"{parent}/operations/{uuid.uuid4().hex[:20]}"
        operation = operations_pb2.Operation(name=name)
        if metadata is not None:
            operation.metadata.CopyFrom(packed(metadata))
        self._save(operation)
        self._records.put(name, {"kind": kind, "payload": payload, "done": False})
        return operation

    def submit(self, name: str) -> None:
        """Begin the work of an operation that ``start`` wrote down."""
        self._done.setdefault(name, threading.Event())
        self._pool.submit(self._run, name)

    def done(self, parent: str, response: Any, metadata: Any = None) -> operations_pb2.Operation:
        """An operation that was over at once."""
        operation = operations_pb2.Operation(name=f"{parent}/operations/{uuid.uuid4().hex[:20]}", done=True)
        operation.response.CopyFrom(packed(response))
        if metadata is not None:
            operation.metadata.CopyFrom(packed(metadata))
        self._save(operation)
        return operation

    def update_metadata(self, name: str, metadata: Any) -> None:
        """Replace a running operation's metadata: how progress is told."""
        with self._store.transaction():
            operation = self._load(name)
            operation.metadata.CopyFrom(packed(metadata))
            self._save(operation)

    def resume(self) -> None:
        """Begin again what an earlier process left unfinished."""
        for name, record in self._records.list():
            if not record["done"]:
                LOG.info("resuming %s (%s)", name, record["kind"])
                self.submit(name)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @rpc("GetOperation", operations_pb2.GetOperationRequest, operations_pb2.Operation, writes=False,
         resource=lambda r: r.name)
    def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        return self._load(request.name)

    @rpc("WaitOperation", operations_pb2.WaitOperationRequest, operations_pb2.Operation, writes=False,
         resource=lambda r: r.name)
    def wait_operation(self, request: operations_pb2.WaitOperationRequest) -> operations_pb2.Operation:
        event = self._done.get(request.name)
        if event is not None:
            event.wait(min(request.timeout.ToTimedelta().total_seconds() or 30.0, 30.0))
        return self._load(request.name)

    def _run(self, name: str) -> None:
        record = self._records.get(name)
        if record is None or record["done"]:
            return
        operation = self._load(name)
        try:
            answer = self._work[record["kind"]](name, record["payload"])
            outcome = packed(answer if answer is not None else empty_pb2.Empty())
            operation = self._load(name)
            operation.response.CopyFrom(outcome)
        except exceptions.GoogleAPICallError as error:
            operation = self._load(name)
            operation.error.code = status_of(error).value[0]
            operation.error.message = error.message
        except Exception as error:
            LOG.exception("operation %s failed inside the local cloud", name)
            operation = self._load(name)
            operation.error.code = code_pb2.INTERNAL
            operation.error.message = f"local cloud: {type(error).__name__}: {error}"
        operation.done = True
        with self._store.transaction():
            self._save(operation)
            self._records.put(name, {**record, "done": True})
        self._done.setdefault(name, threading.Event()).set()

    def _save(self, operation: operations_pb2.Operation) -> None:
        self._bodies.put("operations.body", operation.name, operation.SerializeToString())

    def _load(self, name: str) -> operations_pb2.Operation:
        body = self._bodies.get("operations.body", name)
        if body is None:
            raise exceptions.NotFound(f"Operation {name} was not found.")
        return operations_pb2.Operation.FromString(body)


def packed(message: Any) -> any_pb2.Any:
    """A message, raw or proto-plus, as ``google.protobuf.Any``."""
    raw = type(message).pb(message) if hasattr(type(message), "pb") else message
    wrapped = any_pb2.Any()
    wrapped.Pack(raw)
    return wrapped
