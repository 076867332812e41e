"""Judges, sample by sample, whether our work disturbs others.

Safety property: it says "pause" within seconds of a rise, and at once where somebody waits for us. It compares like
with like: the mean time of each statement with the mean time of the same statement before we began, weighted by how
often it ran just now, so that another mix of statements is no rise.

A rise that stays while nothing of ours runs is not ours: after a while the level of now is what is compared with.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Protocol

Mood = Literal["learning", "calm", "paused"]
Counters = dict[str, tuple[int, float]]

#: Seconds over which a latency is averaged, and for which it is learned before anything begins.
SPAN = 3.0
LEARN = 10.0
#: Seconds of pause after which a level that stays high is not ours.
NOT_OURS = 20.0
#: At least so many calls a second are a load that may be disturbed.
LOADED = 5.0
#: Bytes that a replica may be behind without meaning anything.
LAG_FLOOR = 16 * 1024 * 1024
#: Milliseconds by which a probe may vary without meaning anything.
PROBE_FLOOR = 5.0
#: A load that by itself swings by more than the limit is judged by its own swing, and by so much.
MARGIN = 1.05


class Seen(Protocol):
    """What a sample must tell. ``counters`` is None where pg_stat_statements is not there."""

    @property
    def at(self) -> float: ...
    @property
    def counters(self) -> Counters | None: ...
    @property
    def probe_ms(self) -> float: ...
    @property
    def lag_bytes(self) -> float: ...
    @property
    def blocked_seconds(self) -> float: ...
    @property
    def others(self) -> int: ...


@dataclass
class Guard:
    """``see`` each sample; ``mood`` is what to do, ``why`` the reason of the last pause."""

    rise_percent: float = 20.0
    blocked_seconds: float = 1.0
    mood: Mood = "learning"
    why: str = ""
    _seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=120))
    _since: float | None = None
    _means: dict[str, float] = field(default_factory=dict)
    _probe: float = 0.0
    _lag: float = 0.0
    _swing: float = 1.0
    _had_load: bool = False

    def see(self, sample: Seen) -> Mood:
        """Take one more sample, and say what to do now."""
        self._seen.append(sample)
        if self._since is None:
            self._since = sample.at
        if self.mood == "learning":
            self._learn(sample)
        elif self.mood == "calm":
            self._watch(sample)
        else:
            self._wait(sample)
        return self.mood

    @property
    def loaded(self) -> bool:
        """Whether there is a load that may be disturbed."""
        return self._had_load

    @property
    def limit(self) -> float:
        """The ratio above which the latency has risen."""
        return max(1 + self.rise_percent / 100, self._swing * MARGIN)

    # -----------------------------------------------------------------------------------------------------------------

    def _learn(self, sample: Seen) -> None:
        assert self._since is not None
        long_enough = sample.at - self._since >= LEARN
        quiet = sample.at - self._since >= SPAN and sample.counters is not None and self._rate(self._since) < LOADED
        idle = quiet or sample.others == 0
        if long_enough or idle:
            self._remember(self._since, idle=not long_enough)
            self._become("calm", sample.at, "")

    def _watch(self, sample: Seen) -> None:
        if sample.blocked_seconds >= self.blocked_seconds:
            self._become("paused", sample.at, f"a session waited {sample.blocked_seconds:.1f} s for us")
        elif sample.others and not self._means and self._rate(sample.at - SPAN) >= LOADED:
            self._become("learning", sample.at, "a load has come: its latency is learned first")
        elif (high := self._high(sample)) and self._high_before():
            self._become("paused", sample.at, high)

    def _wait(self, sample: Seen) -> None:
        assert self._since is not None
        paused = sample.at - self._since
        if paused < SPAN or sample.blocked_seconds > 0:
            return
        if not self._high(sample):
            self._become("calm", sample.at, self.why)
        elif paused >= NOT_OURS:
            self._remember(self._since + SPAN, idle=False)
            self._become("calm", sample.at, self.why)

    def _become(self, mood: Mood, at: float, why: str) -> None:
        self.mood, self._since, self.why = mood, at, why

    def _remember(self, since: float, *, idle: bool) -> None:
        """Take what was seen since then as the level that is compared with."""
        own = [one for one in self._seen if one.at >= since]
        first, last = own[0], own[-1]
        self._means = {} if idle else _means(first.counters or {}, last.counters or {})
        self._probe = sorted(one.probe_ms for one in own)[len(own) // 2]
        self._lag = max(one.lag_bytes for one in own)
        self._had_load = not idle and (first.counters is None or self._rate(since) >= LOADED)
        ratios = [self._ratio(one) for one in own if one.at - first.at >= SPAN]
        self._swing = max([1.0, *(ratio for ratio in ratios if ratio is not None)]) if self._means else 1.0

    def _rate(self, since: float) -> float:
        """Calls a second since a time."""
        own = [one for one in self._seen if one.at >= since and one.counters is not None]
        if len(own) < 2 or own[-1].at <= own[0].at:
            return 0.0
        return _calls(own[0].counters or {}, own[-1].counters or {}) / (own[-1].at - own[0].at)

    def _ratio(self, at: Seen) -> float | None:
        """How the latency of the last seconds compares with what it was; None for too few calls."""
        earlier = [one for one in self._seen if at.at - SPAN - 0.6 <= one.at < at.at]
        if not earlier or not self._means or at.counters is None:
            return None
        expected = actual = 0.0
        calls = 0
        first = earlier[0].counters or {}
        for name, (count, total) in at.counters.items():
            before = first.get(name, (count, total))
            if name in self._means and count > before[0]:
                expected += (count - before[0]) * self._means[name]
                actual += total - before[1]
                calls += count - before[0]
        return actual / expected if expected > 0 and calls >= LOADED else None

    def _high(self, sample: Seen) -> str:
        """What has risen beyond its limit, in words; empty where nothing has."""
        ratio = self._ratio(sample)
        if ratio is not None and ratio > self.limit:
            return f"the application's statements take {100 * (ratio - 1):.0f} % longer"
        if sample.lag_bytes > max(LAG_FLOOR, self._lag * (1 + self.rise_percent / 100)):
            return f"a replica is {sample.lag_bytes / 1e6:,.0f} MB behind"
        if sample.counters is None and sample.probe_ms > PROBE_FLOOR + self._probe * (1 + self.rise_percent / 100):
            return f"a probe takes {sample.probe_ms:.0f} ms instead of {self._probe:.0f} ms"
        return ""

    def _high_before(self) -> bool:
        """Whether the sample before was high already: one alone may be chance."""
        return len(self._seen) >= 2 and bool(self._high(self._seen[-2]))


def _means(first: Counters, last: Counters) -> dict[str, float]:
    """The mean time of each statement between two samples."""
    found = {}
    for name, (calls, total) in last.items():
        before = first.get(name, (0, 0.0) if not first else (calls, total))
        if calls - before[0] > 0:
            found[name] = (total - before[1]) / (calls - before[0])
    return found


def _calls(first: Counters, last: Counters) -> int:
    return sum(max(0, calls - first.get(name, (calls, 0.0))[0]) for name, (calls, _) in last.items())
