"""The canary's judge on simulated releases: how often it errs, and how much it must see; see ``releases``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from tasks.estate import Canary
from tests.benchmarks.releases import BUSY, QUIET, Candidate, Machine, Release, simulate

RELEASES = 10_000
CANARY = Canary()
GOOD, BAD = CANARY.acceptable_error_rate, CANARY.unacceptable_error_rate
#: Quiet, since a busy machine's own slow answers hide such a tail.
MACHINE_OF_TAIL = Machine(median_seconds=0.1)
#: All but the quiet one have bursts of 0.2 to 2 s.
MACHINES = {
    "quiet": QUIET,
    "busy": BUSY,
    "very busy": Machine(median_seconds=0.1, between_common=2.0, between_own=5.0),
}
HEALTHY = Candidate((GOOD, GOOD))
SLOW = Candidate(factor=2.5)
DELAYED = Candidate(added_seconds=0.15)
#: One answer in ten is 5 times as slow. Of a tail nothing is promised, so these rows have no goal.
TAILED = Candidate(tail_share=0.1, tail_factor=5)


def bench() -> list[dict[str, Any]]:
    """Measure the judge with the default canary."""
    return [*_healthy(RELEASES), *_failing(RELEASES), *_slow(RELEASES // 10)]


def _healthy(releases: int) -> list[dict[str, Any]]:
    rows = []
    for name, machine in MACHINES.items():
        ended = simulate(HEALTHY, machine, releases, CANARY)
        rows += [
            _rate(f"canary: healthy releases rolled back, {name} machine", ended, "unhealthy", CANARY.alpha),
            _rate(f"canary: healthy releases held, {name} machine", ended, "undecided", None),
            *_needed(f"canary: until released, healthy, {name} machine", _spent(ended, "healthy")),
        ]
    return rows


def _failing(releases: int) -> list[dict[str, Any]]:
    throughout = simulate(Candidate((BAD, BAD)), QUIET, releases, CANARY)
    late = simulate(Candidate((0.0, BAD)), QUIET, releases, CANARY)
    rolled_back = [one for one in throughout if one.verdict == "unhealthy"]
    return [
        _rate("canary: bad releases released", throughout, "healthy", CANARY.beta),
        _rate("canary: releases bad in the last step released", late, "healthy", CANARY.beta),
        *_needed("canary: until rolled back, bad", _spent(throughout, "unhealthy")),
        *_needed("canary: from the first bad answer to rolled back", [one.since_first_bad for one in rolled_back]),
    ]


def _slow(releases: int) -> list[dict[str, Any]]:
    rows = []
    for name, machine in (("quiet", QUIET), ("busy", BUSY)):
        for what, candidate in (("2.5 times as slow", SLOW), ("150 ms slower", DELAYED)):
            ended = simulate(candidate, machine, releases, CANARY)
            rows += [
                _rate(f"canary: releases {what} released, {name} machine", ended, "healthy", CANARY.beta),
                _rate(f"canary: releases {what} held, {name} machine", ended, "undecided", None),
                *_needed(f"canary: until rolled back, {what}, {name} machine", _spent(ended, "unhealthy")),
            ]
    for name, machine in (("quiet machine", QUIET), ("quiet machine of 100 ms", MACHINE_OF_TAIL)):
        ended = simulate(TAILED, machine, releases, CANARY)
        rows += [
            _rate(f"canary: releases with a slow tail released, {name}", ended, "healthy", None),
            _rate(f"canary: releases with a slow tail held, {name}", ended, "undecided", None),
        ]
    return rows


def _rate(name: str, ended: Sequence[Release], verdict: str, goal: float | None) -> dict[str, Any]:
    share = sum(one.verdict == verdict for one in ended) / len(ended)
    return {
        "name": name,
        "value": round(100 * share, 2),
        "unit": "%",
        "goal": None if goal is None else f"<= {100 * goal:g}",
        "ok": goal is None or share <= goal,
        "against": f"{len(ended)} simulated releases",
    }


def _spent(ended: Sequence[Release], verdict: str) -> list[tuple[int, float]]:
    return [(one.requests, one.seconds) for one in ended if one.verdict == verdict]


def _needed(name: str, spent: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
    rows = []
    for unit, values in zip(("requests", "s"), zip(*spent, strict=True), strict=True):
        for which, value in (("median", median(values)), ("p95", quantiles(values, n=20)[-1])):
            fixed = {"unit": unit, "goal": None, "ok": True, "against": f"{len(spent)} simulated releases"}
            rows.append({"name": f"{name}, {which}", "value": round(value, 1), **fixed})
    return rows
