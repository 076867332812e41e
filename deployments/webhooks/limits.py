"""How much one address may ask.

Safety property: what it remembers is bounded, however many addresses are claimed; and who guesses signatures is stopped
ten times sooner than who sends.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_ADDRESSES = 10_000
#: What a request that was not authentic costs beside itself.
FORGERY_COST = 9.0


class Limits:
    """A bucket of tokens for each address: it holds ``burst``, and ``rate`` come back each second."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Take one token: 0, or in how many seconds there will be one."""
        return 0 if (missing := self._take(address, 1.0)) <= 0 else max(1, math.ceil(missing / self._rate))

    def charge_forgery(self, address: str) -> None:
        """Make an address pay for a request that was not authentic."""
        key = _network(address)
        level, at = self._buckets.get(key, (self._burst, self._clock()))
        self._keep(key, max(level - FORGERY_COST, -FORGERY_COST), at)

    def _take(self, address: str, cost: float) -> float:
        """How much is missing to take a token; it is taken where nothing is."""
        key, now = _network(address), self._clock()
        level, at = self._buckets.get(key, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._rate)
        self._keep(key, level - cost if level >= cost else level, now)
        return cost - level

    def _keep(self, key: str, level: float, at: float) -> None:
        self._buckets[key] = (level, at)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)


def _network(address: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one, which one holder has whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
