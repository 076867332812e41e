"""The programs of a stack: their command lines, their environment, and how each is asked whether it answers."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deployments.environment import POOL, child_environment, prefect_url, server_environment
from deployments.stack.children import Program
from deployments.stack.database import PREFECT, database_url
from deployments.stack.folder import Folder
from tasks.errors import Missing

#: The checkout: flows are registered and run from here.
HOME = Path(__file__).resolve().parents[2]
PREFECT_YAML = HOME / "prefect.yaml"
#: In the order of stopping, which is that of dependence.
CHILDREN = ("webhooks", "worker", "prefect", "local-cloud")
DRAIN_SECONDS = 30.0
AFTER_DRAIN_SECONDS = 15.0
ANSWER_SECONDS = 2.0


def cloud_program(folder: Folder) -> Program:
    """The local cloud, with its state in the folder ``cloud``."""
    return Program(
        name="local-cloud",
        argv=(sys.executable, "-m", "localcloud", "--state", str(folder.cloud)),
        env=child_environment(folder.root),
        cwd=HOME,
        healthy=lambda: _cloud_healthy(folder),
        grace_seconds=30,
    )


def server_program(folder: Folder, ports: dict[str, int], listen: str) -> Program:
    """Prefect's server with its UI, on an address of this machine."""
    url = database_url(folder, PREFECT, "asyncpg")
    return Program(
        name="prefect",
        argv=(
            sys.executable, "-m", "deployments.stack.prefect_server", "--port", str(ports["prefect"]), "--host", listen
        ),
        env=server_environment(folder.root, url),
        cwd=HOME,
        healthy=lambda: answers(f"{prefect_url(folder)}/health"),
        grace_seconds=15,
    )


def webhooks_program(folder: Folder, ports: dict[str, int], estate: Path) -> Program:
    """The webhook receiver, on loopback."""
    return Program(
        name="webhooks",
        argv=(sys.executable, "-m", "deployments.webhooks.server", "--port", str(ports["webhooks"])),
        env={**child_environment(folder.root), "CARETAKER_ESTATE": str(estate)},
        cwd=HOME,
        healthy=lambda: answers(f"http://127.0.0.1:{ports['webhooks']}/healthz"),
        grace_seconds=15,
    )


def worker_program(folder: Folder, drain_seconds: float) -> Program:
    """The worker that runs the deployments' flows."""
    return Program(
        name="worker",
        argv=(sys.executable, "-m", "deployments.stack.worker", "--drain", str(drain_seconds)),
        env=child_environment(folder.root),
        cwd=HOME,
        healthy=lambda: _worker_online(folder),
        grace_seconds=drain_seconds + AFTER_DRAIN_SECONDS,
    )


def ask(
    url: str, body: dict[str, Any] | None = None, timeout: float = ANSWER_SECONDS,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """The JSON that a URL answers; with a body it is posted. Raises OSError when it does not answer with 2xx."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})  # noqa: S310  http
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


def answers(url: str) -> bool:
    """Whether a URL answers with 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  http, loopback
            return bool(200 <= answer.status < 300)
    except (OSError, ValueError):
        return False


def prefect_api(folder: Folder) -> str:
    """The address of a stack's Prefect API. Raises Missing where it does not answer."""
    url = prefect_url(folder)
    if "prefect" not in folder.read().get("ports", {}) or not answers(f"{url}/health"):
        raise Missing(f"reaching Prefect's API of {folder.root} failed: no answer; run 'caretaker up', or pass --state")
    return url


def cloud_endpoints(folder: Folder) -> dict[str, Any] | None:
    """What the local cloud wrote when it was ready; None before."""
    try:
        return dict(json.loads((folder.cloud / "localcloud.json").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _cloud_healthy(folder: Folder) -> bool:
    endpoints = cloud_endpoints(folder)
    return endpoints is not None and answers(f"{endpoints['control']}/healthz")


def _worker_online(folder: Folder) -> bool:
    from deployments.stack.prefect_api import PrefectApi

    try:
        workers = PrefectApi(folder).post(f"work_pools/{POOL}/workers/filter", {})
    except (OSError, ValueError):
        return False
    return any(worker["status"] == "ONLINE" for worker in workers)
