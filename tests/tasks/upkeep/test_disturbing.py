"""The window is in nobody's way: it waits for nobody, nobody waits for it, and it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta

import psycopg
import pytest

from tasks.clients.upkeep_work import Workshop
from tasks.errors import TransientError
from tests.tasks.upkeep.kept import SLOWEST, Kept, oid_of, sessions, vacuum


def test_a_locked_table_is_left_for_later_and_nobody_waits_behind_us(dead: Kept) -> None:
    with dead.transaction("LOCK TABLE large IN ACCESS EXCLUSIVE MODE"):
        began = time.monotonic()
        (effect,) = dead.run(vacuum("large"), guarded=False)
    assert effect.ended == "postponed"
    assert "55P03" in effect.why
    assert time.monotonic() - began < 6


def test_whoever_waits_for_us_waits_no_longer_than_two_seconds(dead: Kept) -> None:
    with dead.somebody(1.5, "ALTER TABLE large ALTER note SET STATISTICS 50") as waits:
        (effect,) = dead.run(vacuum("large"), seconds=8, pace=SLOWEST)
    assert effect.attempts > 1 or effect.ended == "postponed"
    assert waits[0] <= 2.0


def test_the_window_has_a_hard_end(dead: Kept) -> None:
    began = time.monotonic()
    effects = dead.run(vacuum("large"), vacuum("small"), seconds=1.5, pace=SLOWEST)
    assert time.monotonic() - began < 5
    assert {effect.action.target: effect.ended for effect in effects}["public.large"] == "postponed"
    assert sessions(dead) == []


def test_a_vacuum_that_was_broken_off_has_not_worked_for_nothing(dead: Kept) -> None:
    dead.run(vacuum("large"), seconds=2.5, pace=3)
    seen = dead.rows("SELECT count(*) FROM pg_class WHERE relname = 'large' AND relallvisible > 0")
    (effect,) = dead.run(vacuum("large"))
    assert (seen, effect.ended) == ([(1,)], "done")


def test_a_session_that_the_server_ends_is_an_error_that_retrying_may_clear(kept: Kept) -> None:
    """A restart under a VACUUM failed the run: what came first was hidden by what came of it."""
    with Workshop(kept.url, None).worker() as worker:
        end = threading.Timer(0.3, lambda: kept.rows(f"SELECT pg_terminate_backend({worker.pid})"))
        end.start()
        with pytest.raises(TransientError, match=r"57P01.*retrying may clear this"):
            worker.run("SELECT pg_sleep(9)", timedelta(seconds=9), timedelta(seconds=1), 0.0, "sleeping")
        end.join()


def test_what_somebody_vacuums_already_is_left_to_them_and_they_are_not_waited_for(dead: Kept) -> None:
    """Autovacuum is cancelled by whoever waits for it. Afterwards it is done, if anything is left to do."""
    vacuums = f"SELECT pid FROM pg_stat_progress_vacuum WHERE relid = {oid_of(dead, 'large')}"

    def other() -> None:
        with dead.connect() as connection:
            connection.execute("SET vacuum_cost_delay = 100; SET application_name = 'by hand'")
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                connection.execute("VACUUM large")

    thread = threading.Thread(target=other)
    thread.start()
    while not (found := dead.rows(vacuums)):
        time.sleep(0.02)
    began = time.monotonic()
    (effect,) = dead.run(vacuum("large"), guarded=False)
    took = time.monotonic() - began
    dead.rows(f"SELECT pg_cancel_backend({found[0][0]})")
    thread.join()
    assert (effect.ended, f"pid {found[0][0]} (client backend)" in effect.why) == ("held_back", True)
    assert took < 3


def test_what_autovacuum_is_at_needs_nobody_and_is_not_cancelled(loaded: Kept) -> None:
    slow = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
    loaded.execute(
        f"CREATE TABLE busy WITH ({slow}) AS SELECT i AS id, md5(i::text) FROM generate_series(1, 50000) i",
        "DELETE FROM busy", "SELECT pg_stat_force_next_flush()",
    )  # fmt: skip
    at_it = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'busy'::regclass"
    end = time.monotonic() + 20
    while not (found := loaded.rows(at_it)):
        assert time.monotonic() < end, "autovacuum did not come"
        time.sleep(0.1)
    (effect,) = loaded.run(vacuum("busy"), guarded=False)
    still = loaded.rows(at_it)
    loaded.execute("DROP TABLE busy")
    assert (effect.ended, "(autovacuum worker)" in effect.why) == ("skipped", True)
    assert still == found
