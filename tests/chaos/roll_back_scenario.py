"""The roll-back flow under chaos: every run has a release to take back, over a schema that moved with it."""

from __future__ import annotations

from typing import Any

from localcloud.control_client import Control
from tests.chaos.deploy_scenario import DeployScenario
from tests.sample import Sample, run, verdict


class RollBackScenario(DeployScenario):
    """``prepare`` releases code that needs a schema of its own; the flow must bring code and schema back."""

    flow = "roll-back"

    def __init__(self, sample: Sample, control: Control) -> None:
        super().__init__(sample, control)
        self._schema: str | None = None

    def prepare(self) -> dict[str, Any]:
        self._number += 1
        self._before, self._schema = self._sample.serving(), self._sample.schema()
        name = f"regretted-{self._number}"
        self._sample.variant().as_shipped().with_version(name).with_breaking_migration(name)
        released = run(_deployed(self._sample, name))
        assert released.verdict == "released", released.why
        return {"estate": str(self._sample.estate_file), "reason": name, "approve_data_loss": True}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """The revision before serves on the schema before; nothing else is left."""
        wrong = self.check_safe()
        if wrong:
            return wrong
        if verdict["verdict"] not in ("released", "unchanged"):
            return [f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}"]
        found = (self._sample.serving(), self._sample.schema())
        if found != (self._before, self._schema):
            wrong.append(f"{found} serves instead of {(self._before, self._schema)}")
        if self._sample.jobs():
            wrong.append(f"orphan jobs {self._sample.jobs()}")
        return wrong


async def _deployed(sample: Sample, reason: str) -> Any:
    return await verdict(await sample.deploy(reason=reason, approve_outage=True))
