"""The rotation under chaos: every run replaces the login that serves."""

from __future__ import annotations

from typing import Any

from tests.flows import rotations
from tests.flows.rotations import LOGIN, URL
from tests.sample import Sample


class RotateSecretsScenario:
    """One estate with one service and one database."""

    flow = "rotate-secrets"

    def __init__(self, sample: Sample) -> None:
        self.project, self.folder = sample.project, sample.folder
        self._sample, self._before = sample, 0

    def prepare(self) -> dict[str, Any]:
        rotations.destroys_at_once(self._sample, *LOGIN)
        self._before = rotations.pinned(self._sample)
        return {"estate": str(self._sample.estate_file), "secrets": list(LOGIN)}

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """Another version serves, it alone is enabled, its user alone may log in, and no mark is left."""
        wrong = self.check_safe()
        if wrong:
            return wrong
        serving = rotations.pinned(self._sample)
        if verdict["verdict"] != "rotated":
            wrong.append(f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}")
        if serving == self._before:
            wrong.append("the old version serves")
        urls, passwords = (rotations.enabled(self._sample, name) for name in LOGIN)
        if urls != [serving] or len(passwords) != 1:
            wrong.append(f"enabled: {urls}, {passwords}")
        if self._sample.site.rotating_secrets.look(URL).annotations:
            wrong.append("the mark is left")
        users = {name for name, can in rotations.can_log_in(self._sample).items() if can}
        return wrong + ([] if users == {rotations.user(self._sample)} else [f"{sorted(users)} may log in"])

    def check_safe(self) -> list[str]:
        """What serves is pinned to an enabled version that works for new connections; one orphan at most is enabled."""
        try:
            serving = rotations.pinned(self._sample)
        except AssertionError as error:
            return [f"split, tagged or marked: {error}"]
        wrong = []
        if serving not in rotations.enabled(self._sample, URL):
            wrong.append(f"version {serving}, which serves, is not enabled")
        if (status := self._sample.get("/specs?fresh=1").status_code) != 200:
            wrong.append(f"the service answers {status}")
        orphans = [number for number in rotations.enabled(self._sample, URL) if number not in (serving, self._before)]
        return wrong + ([f"orphans {orphans} are enabled"] if len(orphans) > 1 else [])
