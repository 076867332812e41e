"""What the control API offers of Cloud SQL: what Google does by itself in its own time, at once; and where files lie.

No call of it is part of Google's API. It is for tests, for the sample, and for the curious.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.api_core import exceptions
from google.cloud.sqladmin_v1.types import Operation

from localcloud.sql.archives import current
from localcloud.sql.names import InstanceName
from localcloud.sql.runs import now
from localcloud.sql.windows import last_window

if TYPE_CHECKING:
    from localcloud.sql.backups import Backups
    from localcloud.sql.instances import Instances
    from localcloud.sql.recovery import Recovery
    from localcloud.sql.runs import Runs


class SqlControl:
    """Three requests, each about one instance: ``/sql/PROJECT/INSTANCE/…``."""

    def __init__(self, instances: Instances, runs: Runs, backups: Backups, recovery: Recovery) -> None:
        self._instances, self._runs, self._backups, self._recovery = instances, runs, backups, recovery

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sql/{project}/{instance}/paths", self._answer(self.paths)),
            web.post("/sql/{project}/{instance}/automated-backup", self._answer(self.automated_backup)),
            web.post("/sql/{project}/{instance}/archive", self._answer(self.archive)),
        ]

    def paths(self, name: InstanceName, _: Any) -> dict[str, Any]:
        """Where an instance's data, its archived log and its backups lie."""
        self._instances.get(name)
        data = self._instances.data(name)
        archive = current(data)
        return {
            "data": str(data),
            "log": str(self._recovery.log(name, archive)) if archive else None,
            "backups": {str(run.id): str(self._runs.data(name, run.id)) for run in self._runs.of(name)},
        }

    def automated_backup(self, name: InstanceName, query: Any) -> dict[str, Any]:
        """Begin the automated backup of the newest window, due or not; ``at`` backdates the times that it tells."""
        at = datetime.fromisoformat(query["at"]) if "at" in query else None
        start_time = self._instances.get(name).settings.backup_configuration.start_time
        operation: Operation = self._backups.automated(name, last_window(start_time, at or now()), at)
        return {"operation": operation.name, "backup": operation.backup_context.backup_id}

    def archive(self, name: InstanceName, _: Any) -> dict[str, Any]:
        """Archive the log now: what has been committed is recoverable from then on."""
        return {"latest": self._recovery.mark(name).isoformat()}

    def _answer(self, work: Callable[[InstanceName, Any], dict[str, Any]]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            name = InstanceName(request.match_info["project"], request.match_info["instance"])
            try:
                return web.json_response(await asyncio.to_thread(work, name, request.query))
            except exceptions.NotFound as error:
                raise web.HTTPNotFound(text=_said(error.message), content_type="application/json") from error
            except (exceptions.GoogleAPICallError, ValueError) as error:
                text = _said(getattr(error, "message", str(error)))
                raise web.HTTPBadRequest(text=text, content_type="application/json") from error

        return handle


def _said(why: str) -> str:
    return json.dumps({"error": why})
