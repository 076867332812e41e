"""What this process remembers of the database, for a day: the data changes only by a sync.

Each instance has its own. A sync is answered by one instance, so the caches are cleared by a call of their own.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

LIFETIME_SECONDS = 24 * 3600


class Cache:
    """Values by key. While one thread loads, the others wait for its answer instead of asking the database too."""

    def __init__(self, lifetime_seconds: float = LIFETIME_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._entries: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, load: Callable[[], Any]) -> Any:
        """The value of ``key``, loaded when it is missing or too old. A failed load is not remembered."""
        with self._lock:
            stored = self._entries.get(key)
            if stored is None or self._clock() - stored[0] > self._lifetime:
                stored = self._entries[key] = (self._clock(), load())
            return stored[1]

    def clear(self) -> int:
        """Forget everything; returns how many entries there were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            return count
