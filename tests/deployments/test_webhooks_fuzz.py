"""Thousands of bent requests: no forgery is let in, nothing is answered 500, and nothing is kept of them."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

from tests.webhooks.fuzz import shoot
from tests.webhooks.receiver import RULES, Scene

COUNT, SEED = 1500, 8


async def test_no_forgery_is_let_in_nothing_is_500_and_memory_is_flat(tmp_path: Path) -> None:
    scene = Scene(tmp_path, RULES.model_copy(update={"burst": 100_000, "requests_per_second": 10_000.0}))
    await shoot(scene, 300, SEED + 1)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tally = await shoot(scene, COUNT, SEED)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert tally.faults == []
    assert tally.forgeries > COUNT / 3
    assert tally.let_in > COUNT / 20, "the true ones are let in, so a refusal says something"
    assert {400, 401, 403, 413, 415} <= tally.statuses.keys(), tally.statuses
    assert grown < 2_000_000, f"{grown} bytes more"
