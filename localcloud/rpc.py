"""Google's gRPC services, served from Google's own message types.

A servicer is a class whose methods bear ``@rpc``; it takes the request message and returns the response message, or
raises one of ``google.api_core.exceptions`` with Google's own text. Every call passes one gate: it is logged, meets its
planted fault, and only then runs. A method that no servicer has is answered with UNIMPLEMENTED and its name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core import exceptions
from google.protobuf import message as protobuf

from localcloud.calls import Calls
from localcloud.faults import HOLD_LIMIT_SECONDS, Fault, Faults

LOG = logging.getLogger("localcloud.rpc")
_PROJECT = re.compile(r"projects/([^/]+)")


@dataclass(frozen=True)
class Rpc:
    """How one method is served: its request and response types, whether it writes, which resource it is about."""

    name: str
    request: Any
    response: Any
    writes: bool
    resource: Callable[[Any], str]


def rpc(
    name: str, request: Any, response: Any, *, writes: bool, resource: Callable[[Any], str]
) -> Callable[[Any], Any]:
    """Mark a servicer's method as the implementation of one RPC.

    ``resource`` gives the full name of what the call is about, with ``projects/ID`` in it where there is a project.
    """

    def mark(function: Any) -> Any:
        function.rpc = Rpc(name, request, response, writes, resource)
        return function

    return mark


class Servicer:
    """A Google service. ``service`` is its full protobuf name."""

    service: str = ""

    def methods(self) -> Iterable[tuple[str, Rpc, Callable[[Any], Any]]]:
        for attribute in dir(self):
            function = getattr(self, attribute)
            spec = getattr(function, "rpc", None)
            if isinstance(spec, Rpc):
                yield f"/{self.service}/{spec.name}", spec, function


class Gate:
    """What every call of every protocol passes: the log and the faults."""

    def __init__(self, calls: Calls, faults: Faults) -> None:
        self.calls, self.faults = calls, faults

    def run(
        self,
        method: str,
        resource: str,
        caller: str,
        work: Callable[[], Any],
        *,
        writes: bool,
        project: str = "",
        alive: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Log the call, meet its fault, do the work and return its answer.

        ``alive`` says whether the caller still waits. Raises what the work raises, or the planted error.
        """
        project = project or project_of(resource)
        seq = self.calls.begin(method, project, resource, caller, writes=writes)
        fault = self.faults.meet(method, project, resource, writes=writes)
        code = "INTERNAL"
        try:
            answer = self._with_fault(fault, work, alive)
        except exceptions.GoogleAPICallError as error:
            code = status_of(error).name
            raise
        else:
            code = "OK"
            return answer
        finally:
            self.calls.end(seq, code, fault.kind if fault else "")

    def _with_fault(self, fault: Fault | None, work: Callable[[], Any], alive: Callable[[], bool]) -> Any:
        if fault is None:
            return work()
        if fault.kind == "error":
            raise planted(fault)
        if fault.kind in ("hold_before", "delay"):
            fault.released.wait(fault.seconds if fault.kind == "delay" else HOLD_LIMIT_SECONDS)
        if fault.kind == "hold_before" and not alive():
            # Whoever was killed here had sent nothing yet: its call must not be done after its death.
            raise exceptions.Cancelled("planted fault: the caller went away before the work")
        answer = work()
        if fault.kind == "hold_after":
            fault.released.wait(HOLD_LIMIT_SECONDS)
        if fault.kind == "lost_answer":
            raise exceptions.ServiceUnavailable("planted fault: the answer was lost")
        return answer


def planted(fault: Fault) -> exceptions.GoogleAPICallError:
    """The error that a fault asks for."""
    code = grpc.StatusCode[fault.code]
    return exceptions.from_grpc_status(code, fault.message)


def status_of(error: exceptions.GoogleAPICallError) -> grpc.StatusCode:
    """The gRPC status of an API error; INTERNAL where it has none."""
    code = error.grpc_status_code
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.INTERNAL


def project_of(resource: str) -> str:
    """The project id in a resource name, or an empty string."""
    found = _PROJECT.search(resource)
    return found.group(1) if found else ""


class Handlers(grpc.GenericRpcHandler):
    """Looks up a method by its path, over every registered servicer."""

    def __init__(self, gate: Gate, servicers: Iterable[Servicer]) -> None:
        self._gate = gate
        self._table = {path: (spec, function) for s in servicers for path, spec, function in s.methods()}

    @property
    def paths(self) -> list[str]:
        """Every method served, as ``/package.Service/Method``."""
        return sorted(self._table)

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        found = self._table.get(path)
        if found is None:
            return grpc.unary_unary_rpc_method_handler(_unimplemented(path))
        spec, function = found
        short = f"{path.split('/')[1].rsplit('.', 1)[1]}.{spec.name}"
        return grpc.unary_unary_rpc_method_handler(
            self._behaviour(short, spec, function),
            request_deserializer=_deserializer(spec.request),
            response_serializer=_serializer(spec.response),
        )

    def _behaviour(self, method: str, spec: Rpc, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def behave(request: Any, context: Any) -> Any:
            caller = dict(context.invocation_metadata()).get("user-agent", "")
            try:
                return self._gate.run(
                    method,
                    spec.resource(request),
                    str(caller),
                    lambda: function(request),
                    writes=spec.writes,
                    alive=context.is_active,
                )
            except exceptions.GoogleAPICallError as error:
                context.abort(status_of(error), error.message)
            except Exception as error:
                LOG.exception("%s failed inside the local cloud", method)
                context.abort(grpc.StatusCode.INTERNAL, f"local cloud: {type(error).__name__}: {error}")

        return behave


def _unimplemented(path: str) -> Callable[[Any, Any], Any]:
    def behave(request: Any, context: Any) -> Any:
        LOG.warning("not implemented: %s", path)
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the local cloud does not implement {path}")

    return behave


def _deserializer(kind: Any) -> Callable[[bytes], Any]:
    read: Callable[[bytes], Any] = kind.FromString if issubclass(kind, protobuf.Message) else kind.deserialize
    return read


def _serializer(kind: Any) -> Callable[[Any], bytes]:
    if issubclass(kind, protobuf.Message):
        return lambda answer: answer.SerializeToString()
    return lambda answer: kind.serialize(answer)


def serve(handlers: Handlers, port: int) -> tuple[Any, int]:
    """Start a gRPC server on loopback; return it with its port. Raises RuntimeError when the port is in use."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=96, thread_name_prefix="rpc"),
        handlers=[handlers],
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)],
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    if not bound:
        raise RuntimeError(f"port {port} on 127.0.0.1 is in use")
    server.start()
    return server, bound
