"""A client of the control API, for tests and for the chaos harness."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from localcloud.calls import Call
from localcloud.faults import Kind

_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class SqlPaths:
    """The data directory of an instance, those of its backups by the number of their run, and its archived log."""

    data: Path
    backups: dict[int, Path]
    log: Path | None


class Control:
    """What a test asks of the local cloud behind Google's back."""

    def __init__(self, url: str) -> None:
        # Proxies of the environment are for the outside: the local cloud is on loopback.
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)

    def healthy(self) -> bool:
        try:
            return self._http.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def calls(self, project: str = "", *, writes_only: bool = False, after: int = 0) -> list[Call]:
        """The logged calls after a sequence number, oldest first."""
        query: dict[str, str | int] = {"project": project, "writes": int(writes_only), "after": after}
        names = [field.name for field in fields(Call)]
        return [Call(**{name: call[name] for name in names}) for call in self._ask("GET", "/calls", params=query)]

    def plant(
        self,
        method: str,
        kind: Kind,
        *,
        project: str = "",
        nth: int = 1,
        times: int = 1,
        **more: str | float | bool,
    ) -> str:
        """Plant a fault and return its id; ``more`` are further fields of ``Fault``. Raises ValueError."""
        fault = {"method": method, "kind": kind, "project": project, "nth": nth, "times": times, **more}
        return str(self._ask("POST", "/faults", json=fault)["id"])

    def fault(self, fault_id: str) -> dict[str, Any]:
        """A fault's fields; ``met`` says how often it was met. Raises LookupError."""
        found: dict[str, Any] = self._ask("GET", f"/faults/{fault_id}")
        return found

    def faults(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/faults")
        return found

    def wait_until_met(self, fault_id: str, timeout: float = 30.0) -> dict[str, Any]:
        """The fault, once a call has met it. Raises TimeoutError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not (fault := self.fault(fault_id))["met"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no call met {fault_id} ({fault['method']}, {fault['kind']}) in {timeout} s")
            time.sleep(_POLL_SECONDS)
        return fault

    def release(self, fault_id: str) -> None:
        """Let the calls go on that this fault holds."""
        self._ask("POST", f"/faults/{fault_id}/release")

    def remove(self, fault_id: str) -> None:
        """Remove a fault and let go what it holds. Succeeds when it is gone."""
        answer = self._http.delete(f"/faults/{fault_id}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    def clear(self, project: str = "") -> None:
        """Remove every fault, or those of one project."""
        self._ask("DELETE", "/faults", params={"project": project})

    def export_billing(self, project: str, dataset: str, table: str, since: str, **more: Any) -> None:
        """Switch a billing export on; ``more`` are further fields of ``localcloud.billing``. Raises ValueError."""
        export = {"project": project, "dataset": dataset, "table": table, "since": since, **more}
        self._ask("PUT", "/billing-exports", json=export)

    def methods(self) -> list[str]:
        """Every implemented gRPC method, as ``/package.Service/Method``."""
        found: list[str] = self._ask("GET", "/methods")
        return found

    def automated_backup(self, project: str, instance: str, *, at: datetime | None = None) -> int:
        """Begin the automated backup of a Cloud SQL instance now; return the number of its run.

        ``at`` backdates the times that the run tells, for tests of age. Raises LookupError, ValueError when refused.
        """
        query = {"at": at.isoformat()} if at else {}
        return int(self._ask("POST", f"/sql/{project}/{instance}/automated-backup", params=query)["backup"])

    def sql_paths(self, project: str, instance: str) -> SqlPaths:
        """Where an instance's files lie, for tests that damage them. Raises LookupError."""
        found = self._ask("GET", f"/sql/{project}/{instance}/paths")
        backups = {int(run): Path(path) for run, path in found["backups"].items()}
        return SqlPaths(Path(found["data"]), backups, Path(found["log"]) if found["log"] else None)

    def archive_log(self, project: str, instance: str) -> datetime:
        """Archive the log of an instance now; return the time that is recoverable thereby.

        Raises LookupError, and ValueError where point-in-time recovery is off or the log cannot be archived.
        """
        return datetime.fromisoformat(self._ask("POST", f"/sql/{project}/{instance}/archive")["latest"])

    def close(self) -> None:
        self._http.close()

    def _ask(self, verb: str, path: str, **more: Any) -> Any:
        answer = self._http.request(verb, path, **more)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise LookupError(answer.json()["error"])
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise ValueError(answer.json()["error"])
        return answer.raise_for_status().json()
