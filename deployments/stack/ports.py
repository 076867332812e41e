"""The ports of a stack: the well-known ones when free, else free ones, and the same at the next start.

Safety property: a port that somebody else listens on is never taken for ours; only what a recorded, living child of
this stack holds counts as ours.
"""

from __future__ import annotations

from deployments.stack.children import Identity
from deployments.stack.database import Database
from deployments.stack.folder import Folder
from embedded.ports import free_port, is_free
from tasks.errors import BadInput

UI_PORT = 4200


def choose_ports(folder: Folder, ui_port: int | None) -> dict[str, int]:
    """The ports ``prefect``, ``database`` and ``status``. Raises BadInput when the one asked for is in use."""
    last = folder.read().get("ports", {})
    ours = _held(folder, last)
    if ui_port is not None and not (is_free(ui_port) or ("prefect" in ours and last["prefect"] == ui_port)):
        raise BadInput(
            f"starting Prefect's UI on port {ui_port} failed: the port is in use; name another with --ui-port, or "
            "leave it out and a free one is found"
        )
    return {
        "prefect": ui_port or _kept("prefect", last, ours) or free_port(UI_PORT),
        "database": _kept("database", last, ours) or free_port(),
        "status": _kept("status", last, ours) or free_port(),
    }


def _kept(name: str, last: dict[str, int], ours: set[str]) -> int | None:
    port = last.get(name)
    return port if port and (name in ours or is_free(port)) else None


def _held(folder: Folder, last: dict[str, int]) -> set[str]:
    """Which of the last ports are held by processes of this stack that still run."""
    held = set()
    server = Identity.recorded(folder.read().get("children", {}).get("prefect"))
    if server and server.alive:
        held.add("prefect")
    if "database" in last and Database(folder, last["database"]).healthy():
        held.add("database")
    return held
