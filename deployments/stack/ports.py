"""The ports of a stack: the well-known ones when free, else free ones, and the same at the next start.

Safety property: a port that somebody else listens on is never taken for ours; only what a recorded, living child of
this stack holds counts as ours.
"""

from __future__ import annotations

from deployments.addresses import UI_PORT, WEBHOOKS_PORT
from deployments.stack.children import Identity
from deployments.stack.folder import Folder
from embedded.ports import free_port, is_free
from tasks.errors import BadInput


def choose_ports(folder: Folder, ui_port: int | None) -> dict[str, int]:
    """The ports ``prefect``, ``webhooks`` and ``status``. Raises BadInput when the one asked for is in use."""
    last = folder.read().get("ports", {})
    ours = _ours(folder, "prefect")
    if ui_port is not None and not (is_free(ui_port) or (ours and last["prefect"] == ui_port)):
        raise BadInput(
            f"starting Prefect's UI on port {ui_port} failed: the port is in use; name another with --ui-port, or "
            "leave it out and a free one is found"
        )
    return {
        "prefect": ui_port or _kept(folder, "prefect", UI_PORT),
        "webhooks": _kept(folder, "webhooks", WEBHOOKS_PORT),
        "status": free_port(last.get("status")),
    }


def _kept(folder: Folder, name: str, well_known: int) -> int:
    """The last port of a server where it still runs or the port is free, else a free one."""
    last = folder.read().get("ports", {}).get(name)
    return int(last) if last and _ours(folder, name) else free_port(last or well_known)


def _ours(folder: Folder, name: str) -> bool:
    """Whether this server of an earlier start of this stack still runs, on the port that is remembered."""
    server = Identity.recorded(folder.read().get("children", {}).get(name))
    return server is not None and server.alive
