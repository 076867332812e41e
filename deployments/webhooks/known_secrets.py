"""The senders' secrets as Secret Manager has them now, every enabled version.

Safety property: a request never makes a call to Secret Manager, however many come; a version that was disabled is
forgotten within one renewal, and where Secret Manager does not answer for long, nothing is accepted any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from pydantic import SecretStr

from tasks.clients.secret_manager import SecretManager
from tasks.errors import OpsError
from tasks.models import SecretPin

RENEWAL_SECONDS = 10.0
#: What was read before is good for so long while Secret Manager does not answer.
STALE_SECONDS = 600.0
#: A rotation has two versions: the one that senders use and the one that they will.
NEWEST = 2
log = logging.getLogger("caretaker.webhooks")


class KnownSecrets:
    """What was read last. A version's value never changes, so each is read once."""

    def __init__(
        self, manager: SecretManager, names: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._manager, self._names, self._clock = manager, frozenset(names), clock
        self._values: dict[str, dict[int, SecretStr]] = {}
        self._read_at: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def renew(self) -> None:
        """Read anew which versions are enabled, and the values of those that are new. Never raises an OpsError."""
        for name in self._names:
            try:
                self._values[name] = self._read(name)
                self._read_at[name] = self._clock()
                self._told.pop(name, None)
            except OpsError as error:
                if self._told.get(name) != str(error):
                    log.warning("%s", error)
                self._told[name] = str(error)

    @property
    def incomplete(self) -> bool:
        """Whether one was never read."""
        return bool(self._names - self._read_at.keys())

    def versions(self, name: str) -> dict[int, SecretStr]:
        """The enabled versions by number, the newest first; none where what is known is too old."""
        if self._clock() - self._read_at.get(name, float("-inf")) > STALE_SECONDS:
            return {}
        return self._values[name]

    def _read(self, name: str) -> dict[int, SecretStr]:
        enabled = [one.version for one in self._manager.versions(name) if one.state == "ENABLED"][:NEWEST]
        before = self._values.get(name, {})
        return {
            number: before.get(number) or self._manager.access(SecretPin(secret=name, version=str(number)))
            for number in enabled
        }
