"""The rotation of a generated secret under chaos: every run replaces the token between two services."""

from __future__ import annotations

from typing import Any

import httpx

from tests.flows import rotations
from tests.flows.rotations import TOKEN
from tests.flows.senders import PATH
from tests.sample import Sample


class RotateTokenScenario:
    """One estate with one receiver, and a sender that follows the alias."""

    flow = "rotate-secrets"

    def __init__(self, sample: Sample) -> None:
        self.project, self.folder = sample.project, sample.folder
        self._sample, self._before = sample, 0
        assert rotations.rotate(sample, secrets=(TOKEN,), prepare=True).verdict == "prepared"

    def prepare(self) -> dict[str, Any]:
        rotations.destroys_at_once(self._sample, TOKEN)
        self._before = rotations.pinned(self._sample, TOKEN)
        return {"estate": str(self._sample.estate_file), "secrets": [TOKEN]}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """Another version serves, it alone is enabled and accepted, and no mark is left."""
        wrong = self.check_safe()
        if wrong:
            return wrong
        serving = rotations.pinned(self._sample, TOKEN)
        if verdict["verdict"] != "rotated":
            wrong.append(f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}")
        if serving == self._before:
            wrong.append("the old version serves")
        if (enabled := rotations.enabled(self._sample, TOKEN)) != [serving]:
            wrong.append(f"enabled: {enabled}")
        if self._sample.site.rotating_secrets.look(TOKEN).annotations:
            wrong.append("the mark is left")
        return wrong

    def check_safe(self) -> list[str]:
        """Every version that serves is enabled, who follows the alias is accepted, and one orphan at most is left."""
        try:
            spec = self._sample.site.run.get_revision("api", self._sample.serving()).spec
        except AssertionError as error:
            return [f"split, tagged or marked: {error}"]
        pins = {int(pin.version) for pin in spec.secret_env.values() if pin.secret == TOKEN}
        enabled = set(rotations.enabled(self._sample, TOKEN))
        wrong = [f"version {number}, which serves, is not enabled" for number in pins - enabled]
        if (status := self._presented(rotations.token(self._sample, "current"))) != 200:
            wrong.append(f"the sender is answered {status}")
        orphans = enabled - pins - {self._before}
        return wrong + ([f"orphans {sorted(orphans)} are enabled"] if len(orphans) > 1 else [])

    def _presented(self, token: str) -> int:
        uri = self._sample.state().uri
        return httpx.post(uri + PATH, headers={"Authorization": f"Bearer {token}"}, timeout=20).status_code
