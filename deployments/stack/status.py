"""What a stack tells about itself: served by its supervisor on loopback, asked by ``caretaker status``.

The supervisor composes it, because it has Google's client loaded already: the question itself then costs nothing.
Safety property: "ready" is said only when every process answers, the first steps have succeeded, and every service of
the estate that exists answers its first probe.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deployments.environment import prefect_url
from deployments.stack.children import Identity, memory_mb
from deployments.stack.folder import Folder
from deployments.stack.prefect_api import PrefectApi
from deployments.stack.programs import answers, ask, cloud_endpoints
from deployments.stack.supervisor import Supervisor
from tasks.errors import OpsError

#: A busy machine's Prefect takes a while to tell of every deployment.
ANSWER_SECONDS = 30.0
NOTHING: dict[str, Any] = {"ready": False, "services": {}, "urls": {}, "processes": {}, "deployments": []}


def read_status(folder: Folder) -> dict[str, Any]:
    """Ask the running supervisor of this folder; the empty status when there is none."""
    remembered = folder.read()
    supervisor = Identity.recorded(remembered.get("supervisor"))
    if supervisor and supervisor.alive:
        with suppress(OSError, ValueError):
            return dict(ask(f"http://127.0.0.1:{remembered['ports']['status']}/", timeout=ANSWER_SECONDS))
    phase = remembered["phase"] if supervisor and supervisor.alive else "stopped"
    return {**NOTHING, "phase": phase, "ready_after": remembered.get("ready_after")}


class StatusServer:
    """Answers every GET on the status port with the status as JSON."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._status = Status(supervisor)
        self._server = ThreadingHTTPServer(("127.0.0.1", supervisor.ports["status"]), _handler(self._status.compose))
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Status:
    """Composes the status of one supervisor's stack."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._services = _Services(supervisor)

    def compose(self) -> dict[str, Any]:
        """The status as plain data."""
        with ThreadPoolExecutor(max_workers=3) as pool:
            asked = pool.submit(self._processes), pool.submit(self._services.read), pool.submit(self._deployments)
            processes, services, deployments = asked[0].result(), asked[1].result(), asked[2].result()
        remembered = self._supervisor.folder.read()
        well = [process["healthy"] for process in processes.values()]
        well += [service["health"] == "ok" for service in services.values()]
        return {
            "ready": remembered["phase"] == "ready" and remembered["first_steps"] == 0 and all(well),
            "phase": remembered["phase"],
            "ready_after": remembered.get("ready_after"),
            "services": services,
            "urls": urls(self._supervisor.folder, self._supervisor.ports),
            "processes": processes,
            "deployments": deployments,
        }

    def _processes(self) -> dict[str, Any]:
        found = {}
        for name, child in self._supervisor.children.items():
            alive = child.alive
            found[name] = _process(child.identity.pid if child.identity else None, alive and child.program.healthy())
        database = self._supervisor.database
        if database:
            found["postgresql"] = _process(database.pid, database.healthy())
        return found

    def _deployments(self) -> list[dict[str, Any]]:
        with suppress(OSError, ValueError):
            api = PrefectApi(self._supervisor.folder)
            flows = {flow["id"]: flow["name"] for flow in api.post("flows/filter", {})}
            found = api.post("deployments/filter", {"sort": "NAME_ASC"})
            return [_deployment(api, flows, deployment) for deployment in found]
        return []


class _Services:
    """The estate's services, as the cloud tells them and as they answer."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._client: Any = None

    def read(self) -> dict[str, Any]:
        """Every service of the estate that exists. Empty while the cloud does not answer."""
        from tasks.estate import Estate

        estate = Estate.load(self._supervisor.wishes.estate)
        try:
            states = {state.name: state for state in self._cloud_run(estate).list_services()}
        except OpsError:
            return {}
        return {item.name: _service(item, states[item.name]) for item in estate.services if item.name in states}

    def _cloud_run(self, estate: Any) -> Any:
        from tasks.clients.cloud_run import CloudRun
        from tasks.clients.google import Google
        from tasks.settings import settings

        with self._lock:
            endpoints = cloud_endpoints(self._supervisor.folder)
            if self._client is None or self._client[0] != endpoints:
                self._client = (endpoints, CloudRun(Google(estate.google, settings())))
            return self._client[1]


def urls(folder: Folder, ports: dict[str, int]) -> dict[str, str]:
    """Where a person looks."""
    ui = prefect_url(folder).removesuffix("/api")
    endpoints = cloud_endpoints(folder)
    names = {"local_cloud": "control", "storage": "storage", "bigquery": "bigquery"}
    cloud = {name: endpoints[key] for name, key in names.items()} if endpoints else {}
    receiver = {"webhooks": f"http://127.0.0.1:{ports['webhooks']}"} if "webhooks" in ports else {}
    status = f"http://127.0.0.1:{ports['status']}"
    return {"ui": ui, "prefect_api": f"{ui}/api", **receiver, "status": status, **cloud}


def _process(pid: int | None, healthy: bool) -> dict[str, Any]:
    return {"pid": pid, "healthy": healthy, "memory_mb": memory_mb(pid) if pid else 0.0}


def _service(service: Any, state: Any) -> dict[str, Any]:
    """A service's URL, the revision with most traffic, and whether its first probe is answered."""
    serving = max(state.traffic_statuses, key=lambda line: line.percent, default=None)
    well = state.ready and answers(f"{state.uri}{service.probes[0].path}")
    health = "ok" if well else (state.message or "does not answer")
    return {"url": state.uri, "revision": serving.revision if serving else "", "health": health}


def _deployment(api: PrefectApi, flows: dict[str, str], deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment's next run, and how its flow ended last: by hand counts too."""
    name = f"{flows.get(deployment['flow_id'], '?')}/{deployment['name']}"
    of = {"deployments": {"id": {"any_": [deployment["id"]]}}, "limit": 1}
    of_flow = {"flows": {"id": {"any_": [deployment["flow_id"]]}}, "limit": 1}
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_ASC"}
    final = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
    ended = {"flow_runs": {"state": {"type": {"any_": final}}}, "sort": "END_TIME_DESC"}
    following = api.post("flow_runs/filter", {**of, **scheduled})
    last = api.post("flow_runs/filter", {**of_flow, **ended})
    return {
        "name": name,
        "paused": deployment["paused"],
        "scheduled": any(schedule["active"] for schedule in deployment["schedules"]),
        "next_run": following[0]["expected_start_time"] if following else None,
        "last_verdict": last[0]["state"]["name"] if last else None,
        "last_run": last[0]["end_time"] if last else None,
    }


def _handler(compose: Callable[[], dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(compose()).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the terminal is the stack's."""

    return Handler
