"""The guard, on samples as it takes them twice a second."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.analysis.guard import Counters, Guard, Mood

STEP = 0.5


@dataclass(frozen=True)
class Seen:
    at: float
    counters: Counters | None = None
    probe_ms: float = 1.0
    lag_bytes: float = 0.0
    blocked_seconds: float = 0.0
    others: int = 1


@dataclass
class Server:
    """A server whose statements take so many milliseconds and run so often a second."""

    guard: Guard = field(default_factory=Guard)
    now: float = 100.0
    quick_ms: float = 1.0
    slow_ms: float = 10.0
    quick_rate: int = 100
    slow_rate: int = 10
    _counters: Counters = field(default_factory=lambda: {"quick": (0, 0.0), "slow": (0, 0.0)})

    def run(self, seconds: float, **seen: float) -> list[Mood]:
        """Let it run; what the guard said at each sample."""
        said = []
        for _ in range(int(seconds / STEP)):
            self.now += STEP
            for name, rate, ms in (("quick", self.quick_rate, self.quick_ms), ("slow", self.slow_rate, self.slow_ms)):
                calls, total = self._counters[name]
                self._counters[name] = (calls + int(rate * STEP), total + int(rate * STEP) * ms)
            said.append(self.guard.see(Seen(self.now, dict(self._counters), **seen)))  # type: ignore[arg-type]
        return said

    def calm(self) -> Server:
        assert self.run(12)[-1] == "calm"
        return self


def seconds_to(mood: Mood, said: list[Mood]) -> float:
    assert mood in said, said
    return (said.index(mood) + 1) * STEP


def test_work_begins_at_once_where_nobody_else_is() -> None:
    assert Guard().see(Seen(1.0, {}, others=0)) == "calm"


def test_under_a_load_its_latency_is_learned_first() -> None:
    server = Server()
    said = server.run(12)
    assert seconds_to("calm", said) >= 10
    assert server.guard.loaded


def test_a_rise_of_a_fifth_pauses_within_five_seconds() -> None:
    server = Server().calm()
    server.quick_ms, server.slow_ms = 1.3, 13.0
    assert seconds_to("paused", server.run(10)) <= 5
    assert "longer" in server.guard.why


def test_a_rise_of_less_does_not_pause() -> None:
    server = Server().calm()
    server.quick_ms, server.slow_ms = 1.1, 11.0
    assert set(server.run(30)) == {"calm"}


def test_more_of_the_slow_statement_is_no_rise() -> None:
    server = Server().calm()
    server.slow_rate = 200
    assert set(server.run(30)) == {"calm"}


def test_it_goes_on_once_the_latency_is_back() -> None:
    server = Server().calm()
    server.quick_ms = 3.0
    assert "paused" in server.run(6)
    server.quick_ms = 1.0
    assert seconds_to("calm", server.run(15)) <= 7


def test_a_rise_that_stays_while_we_do_nothing_is_not_ours() -> None:
    server = Server().calm()
    server.quick_ms = 3.0
    assert server.run(40)[-1] == "calm"
    assert set(server.run(20)) == {"calm"}, "the new level is the one that is compared with"


def test_a_session_that_waits_for_us_pauses_at_the_next_look() -> None:
    server = Server().calm()
    assert server.run(STEP, blocked_seconds=1.0) == ["paused"]
    assert "waited" in server.guard.why


def test_a_replica_that_falls_behind_pauses() -> None:
    server = Server().calm()
    assert seconds_to("paused", server.run(3, lag_bytes=64 * 1024 * 1024)) <= 1
    assert "behind" in server.guard.why


def test_without_pg_stat_statements_the_probe_speaks() -> None:
    guard, now = Guard(), 0.0
    for _ in range(25):
        now += STEP
        guard.see(Seen(now, None, probe_ms=2.0))
    assert guard.mood == "calm"
    assert [guard.see(Seen(now + n * STEP, None, probe_ms=20.0)) for n in (1, 2)] == ["calm", "paused"]


def test_a_load_that_comes_later_is_learned_before_work_goes_on() -> None:
    server = Server(quick_rate=0, slow_rate=0)
    assert server.guard.see(Seen(server.now, {}, others=0)) == "calm"
    server.quick_rate = 100
    said = server.run(15)
    assert "learning" in said
    assert said[-1] == "calm"
    assert server.guard.loaded


def test_a_load_that_swings_by_itself_is_judged_by_its_own_swing() -> None:
    server = Server()
    for milliseconds in (1.0, 4.0, 1.0):
        server.quick_ms = milliseconds
        server.run(4)
    assert server.guard.mood == "calm"
    assert server.guard.limit > 1.2
