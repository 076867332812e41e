"""The guard of a window, and what happens without it."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from embedded.postgres import Cluster
from tasks.clients.upkeep_work import Workshop
from tasks.clients.upkeep_worker import BrokenOff
from tasks.errors import TransientError
from tasks.upkeep_oversight import Oversight
from tests.standby import standby_of
from tests.tasks.upkeep.kept import GUARDS, POLICY, Kept


def test_the_guard_sees_a_replica_fall_behind_and_lets_go_when_it_has_caught_up(
    cluster: Cluster, dead: Kept, short_folder: Path
) -> None:
    shop, until = Workshop(dead.url, None), datetime.now(UTC) + timedelta(seconds=60)
    guard = Oversight(shop, POLICY, until, guarded=True, pace=0)
    with standby_of(cluster, short_folder / "sb") as standby, ThreadPoolExecutor(1) as pool, shop.worker() as worker:
        watching = pool.submit(guard.watch_over)
        guard.await_go()
        with standby.connect() as admin:
            admin.execute("SELECT pg_wal_replay_pause()")
            with guard.at_work(worker):
                dead.execute("CREATE TABLE filler AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, 10000) i")
                began = time.monotonic()
                with pytest.raises(BrokenOff):
                    worker.run("VACUUM large", timedelta(seconds=30), timedelta(seconds=1), 100.0, "vacuum of large")
            assert time.monotonic() - began < 5
            assert re.fullmatch(r"a replica is \d+ MB behind", guard.why)
            admin.execute("SELECT pg_wal_replay_resume()")
        guard.await_go()
        guard.end()
        watching.result()
    (pause,) = guard.pauses
    assert 0 < pause.seconds < 10


def test_a_guard_that_came_when_the_counters_were_just_reset_sees_the_load_that_comes(
    loaded: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.clients.upkeep_watch.CHOOSE_EVERY_SECONDS", 0)
    with loaded.cluster.connect("app") as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute("SELECT pg_stat_statements_reset()")
        with Workshop(loaded.url, "public").watch() as watch:
            watch.choose()
            before = watch.sample([]).counters or {}
            loaded.execute(*["SELECT id FROM one"] * 7)
            counters = watch.sample([]).counters or {}
        admin.execute("DROP EXTENSION pg_stat_statements")
    assert [calls for name, (calls, _) in counters.items() if name not in before] == [7]


def test_without_its_guard_nothing_goes_on_and_nothing_begins(dead: Kept) -> None:
    shop, until = Workshop(dead.url, None), datetime.now(UTC) + timedelta(seconds=30)
    guard = Oversight(shop, POLICY, until, guarded=True, pace=0)
    with ThreadPoolExecutor(1) as pool, shop.worker() as worker:
        watching = pool.submit(guard.watch_over)
        guard.await_go()
        with guard.at_work(worker):
            ended = dead.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {GUARDS}")
            with pytest.raises(BrokenOff):
                worker.run("VACUUM large", timedelta(seconds=30), timedelta(seconds=1), 100.0, "vacuum of large")
        with pytest.raises(BrokenOff, match="the guard is gone"), guard.at_work(worker):
            raise AssertionError("it began")
        with pytest.raises(TransientError):
            watching.result()
    assert ended == [(True,)]
