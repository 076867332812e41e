"""The pieces of one local cloud, and how they know each other.

A service module gets the ``Cloud`` and finds its neighbours by attribute when a call needs them, never at import or in
its constructor; so the order of construction does not matter.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from embedded.temporary import socket_folder
from localcloud.calls import Calls
from localcloud.faults import Faults
from localcloud.operations import Operations
from localcloud.rpc import Gate
from localcloud.store import Store

if TYPE_CHECKING:
    from localcloud.bigquery.api import Api
    from localcloud.bigquery.catalog import Catalog
    from localcloud.billing.exports import Exports
    from localcloud.build.images import Images
    from localcloud.logs.entries import Entries
    from localcloud.run.requests import Requests
    from localcloud.secretmanager.service import SecretManager
    from localcloud.sql.control import SqlControl
    from localcloud.sql.instances import Instances
    from localcloud.storage.objects import Objects
    from localcloud.storage.uploads import Uploads


class Cloud:
    """State folder, store, call log, faults, operations, an event loop, and one attribute per neighbour."""

    bigquery: Api  #: BigQuery's calls (localcloud.bigquery)
    billing: Exports  #: billing exports (localcloud.billing)
    images: Images  #: built images, by URI (localcloud.build)
    logs: Entries  #: log entries (localcloud.logs)
    requests: Requests  #: per-request facts that Monitoring reads (localcloud.run)
    secrets: SecretManager  #: ``access(name)`` gives a version's bytes (localcloud.secretmanager)
    sql: Instances  #: running PostgreSQL clusters (localcloud.sql)
    sql_control: SqlControl  #: what the control API offers of Cloud SQL (localcloud.sql)
    storage: Objects  #: buckets and objects (localcloud.storage)
    storage_url: str  #: base URL of the storage API
    tables: Catalog  #: BigQuery's datasets and tables (localcloud.bigquery)
    uploads: Uploads  #: resumable uploads (localcloud.storage)

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.state / "store.db")
        self.calls = Calls(self.state / "calls.db")
        self.faults = Faults()
        self.gate = Gate(self.calls, self.faults)
        self.operations = Operations(self.store)
        self.sockets = socket_folder(self.state)
        self._starters: list[Callable[[], None]] = []
        self._stoppers: list[Callable[[], None]] = []
        self.loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._loop_thread.start()

    def at_start(self, function: Callable[[], None]) -> None:
        """Call this once all services are installed, before the first call is served, in the order of adding."""
        self._starters.append(function)

    def at_stop(self, function: Callable[[], None]) -> None:
        """Call this when the local cloud stops, in the reverse order of adding."""
        self._stoppers.append(function)

    def start(self) -> None:
        """Bring back what an earlier process left, then resume its unfinished operations."""
        for function in self._starters:
            function()
        self.operations.resume()

    def close(self) -> None:
        self.operations.close()
        for function in reversed(self._stoppers):
            function()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join(timeout=5)
        self.store.close()
        self.calls.close()
        _sweep(self.sockets)


def _sweep(sockets: Path) -> None:
    """Remove what is empty of the sockets' folder; a server that could not be stopped keeps its socket there."""
    for folder in (*(path for path in sockets.glob("*") if path.is_dir()), sockets):
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
