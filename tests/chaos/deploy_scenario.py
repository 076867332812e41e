"""The deploy flow under chaos: every run has new code and a new migration to release."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud.control_client import Control
from tests.sample import Sample

_APPLIED = re.compile(r"Running upgrade (\S*) -> (\w+)")
SETTLING_SECONDS = 30.0


class DeployScenario:
    """One estate with one service; ``prepare`` adds a visible change and an additive migration to its source."""

    flow = "deploy"

    def __init__(self, sample: Sample, control: Control) -> None:
        self.project, self.folder = sample.project, sample.folder
        self._sample, self._control = sample, control
        self._number = 0
        self._before = ""

    def prepare(self) -> dict[str, Any]:
        self._number += 1
        self._before = self._sample.serving()
        name = f"chaos-{self._number}"
        self._sample.variant().with_version(name).with_additive_migration(name)
        return {"estate": str(self._sample.estate_file), "reason": name}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """Released or safely back; never split; no orphan tag, mark or job; no migration applied twice."""
        wrong = self.check_safe()
        if wrong:
            return wrong
        serving = self._sample.serving()
        if verdict["verdict"] in ("released", "unchanged"):
            if serving == self._before:
                wrong.append("said released, but the old revision serves")
            if self._sample.jobs():
                wrong.append(f"orphan jobs {self._sample.jobs()}")
        else:
            wrong.append(f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}")
        return wrong + self._applied_twice()

    def check_safe(self) -> list[str]:
        """One revision has all traffic, nothing is tagged or marked, and it answers."""
        self._await_quiet()
        try:
            self._sample.serving()
        except AssertionError as error:
            return [f"split, tagged or marked: {error}"]
        status = self._sample.get("/specs?fresh=1").status_code
        return [] if status == 200 else [f"the service answers {status}"]

    def _await_quiet(self) -> None:
        """Wait until the cloud has ended what the killed run began."""
        end = time.monotonic() + SETTLING_SECONDS
        while time.monotonic() < end and self._sample.state().reconciling:
            time.sleep(0.1)

    def _applied_twice(self) -> list[str]:
        since = datetime.now(UTC) - timedelta(hours=3)
        lines = self._sample.site.logs.entries('resource.type="cloud_run_job" AND "Running upgrade"', since, 1000)
        applied = [found.group(2) for line in lines if (found := _APPLIED.search(str(line.payload.get("message", ""))))]
        assert applied, "no migration is in the log: the check would be blind"
        return [
            f"revision {name} was applied {applied.count(name)} times"
            for name in set(applied)
            if applied.count(name) > 1
        ]
