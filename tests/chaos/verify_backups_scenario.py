"""The drill under chaos: whatever happens to it, nothing stays behind and production is untouched."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from tests.flows.drills import Drilled, touches_production

SETTLING_SECONDS = 60.0


class VerifyBackupsScenario:
    """One released estate with a night behind it; each case drills it once more.

    ``moment`` is the point in time that every case restores: one after the release, fixed, so that the cases compare.
    """

    flow = "verify-backups"

    def __init__(self, drilled: Drilled, pick: str, moment: datetime | None = None) -> None:
        self.project, self.folder = drilled.sample.project, drilled.sample.folder
        self._drilled, self._pick, self._moment = drilled, pick, moment
        self._before: list[Any] = []
        self._after = 0

    def prepare(self) -> dict[str, Any]:
        self._before, self._after = self._production(), self._drilled.newest_call()
        return {"estate": str(self._drilled.sample.estate_file), "pick": self._pick, "all_objects": True}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """Every level passed; no scratch instance, service, secret or note is left; production is as it was."""
        wrong = []
        if verdict["verdict"] != "passed":
            wrong.append(f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}")
        if verdict["verdict"] == "passed" and not self._is_meant(verdict["target"]["moment"]):
            wrong.append(f"restored the moment {verdict['target']['moment']} instead of {self._moment}")
        self._await_quiet()
        if left := self._drilled.leftovers():
            wrong.append(f"left behind: {', '.join(left)}")
        return wrong + self.check_safe()

    def check_safe(self) -> list[str]:
        """Production is as it was, and no writing call named it."""
        wrong = []
        if touched := touches_production(self._drilled, self._drilled.writes(self._after)):
            wrong.append(f"written to production: {', '.join(touched)}")
        if self._production() != self._before:
            wrong.append("production's content, files, roles or settings differ")
        return wrong

    def _is_meant(self, restored: str | None) -> bool:
        """Whether it is the scenario's moment, to the millisecond that a manifest's name tells."""
        if restored is None or self._moment is None:
            return restored is None and self._moment is None
        return abs(datetime.fromisoformat(restored) - self._moment) < timedelta(milliseconds=1)

    def _production(self) -> list[Any]:
        return [*self._drilled.fingerprint(), self._drilled.files()]

    def _await_quiet(self) -> None:
        """Wait until the cloud has ended what the killed run began."""
        end = time.monotonic() + SETTLING_SECONDS
        sql = self._drilled.sample.site.scratch
        while time.monotonic() < end and any(
            sql.under_way(instance.name) for instance in sql.list_instances() if instance.name.startswith("drill-")
        ):
            time.sleep(0.2)
