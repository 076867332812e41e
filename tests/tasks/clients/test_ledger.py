"""The ledger, on SQLite and on a real PostgreSQL: append-only, chained, written once, one holder per lock."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from tasks.clients.ledger import Ledger
from tasks.clients.ledger_chain import digest
from tasks.errors import BadInput, Conflict, NotAllowed, TransientError
from tasks.models import Change

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def ledger(url: str) -> Ledger:
    ledger = Ledger(url)
    ledger.ensure()
    return ledger


def change(key: str = "deploy/api/1", **fields: object) -> Change:
    return Change.new(
        **{
            "kind": "deploy", "subject": "api", "verdict": "released", "key": key, "at": NOON, "who": "ops@host",
            "why": "a test — ü", "run": "run-1", "inputs": {"n": 1.5, "deep": {"list": [1, None, "x"]}},
            "before": {}, "after": {"revision": "api-1", "verified": True}, **fields,
        }
    )  # fmt: skip


def forge(url: str, *statements: str) -> None:
    """Change the ledger behind its back, as somebody with the owner's rights could."""
    guard = "DROP TRIGGER append_only ON changes" if url.startswith("postgresql") else "DROP TRIGGER no_update"
    with create_engine(url).begin() as connection:
        for statement in (guard, *(["DROP TRIGGER no_delete"] if url.startswith("sqlite") else []), *statements):
            connection.execute(text(statement))


def test_a_change_comes_back_as_it_was_written(ledger):
    written = ledger.append(change())
    assert written.id == 1
    assert ledger.changes() == [written]
    assert written.model_copy(update={"id": 0}) == change()


def test_the_same_key_is_written_once(ledger):
    first = ledger.append(change())
    assert ledger.append(change(why="again", verdict="failed")) == first
    assert len(ledger.changes()) == 1


def test_the_newest_change_comes_first_and_can_be_asked_for_by_kind_and_subject(ledger):
    for number in range(1, 4):
        ledger.append(change(f"k{number}", subject="api" if number != 2 else "frontend"))
    ledger.append(change("k4", kind="migration"))
    assert [c.key for c in ledger.changes()] == ["k4", "k3", "k2", "k1"]
    assert [c.key for c in ledger.changes(kind="deploy", subject="api")] == ["k3", "k1"]
    assert [c.key for c in ledger.changes(limit=1)] == ["k4"]


def test_the_last_verified_revision_passes_over_what_was_not_verified(ledger):
    ledger.append(change("1", after={"revision": "api-1", "verified": True}))
    ledger.append(change("2", after={"revision": "api-2", "verified": False}))
    ledger.append(change("3", kind="migration", after={"revision": "0004", "verified": True}))
    ledger.append(change("4", kind="roll_back", after={"revision": "api-0", "verified": True}))
    assert ledger.last_verified("api") == "api-0"
    assert ledger.last_verified("api", other_than="api-0") == "api-1"
    assert ledger.last_verified("frontend") is None


def test_an_untouched_chain_holds(ledger):
    for number in range(5):
        ledger.append(change(str(number), at=NOON.astimezone() + timedelta(seconds=number)))
    assert ledger.verify_chain() is None


@pytest.mark.parametrize(
    ("statement", "first_broken"),
    [("UPDATE changes SET why = 'a nicer story' WHERE id = 2", 2), ("UPDATE changes SET hash = 'x' WHERE id = 3", 3),
     ("DELETE FROM changes WHERE id = 2", 3), ("UPDATE changes SET id = 9 WHERE id = 4", 9)],
)  # fmt: skip
def test_a_forged_line_is_found(ledger, url, statement, first_broken):
    for number in range(1, 5):
        ledger.append(change(str(number)))
    forge(url, statement)
    assert ledger.verify_chain() == first_broken


def test_a_line_forged_with_a_hash_that_fits_breaks_the_next(ledger, url):
    for number in range(1, 4):
        ledger.append(change(str(number)))
    second = ledger.changes()[1].model_dump(mode="json") | {"why": "a nicer story", "at": NOON}
    with create_engine(url).connect() as connection:
        second["previous"] = connection.execute(text("SELECT previous FROM changes WHERE id = 2")).scalar_one()
    forge(url, f"UPDATE changes SET why = 'a nicer story', hash = '{digest(second)}' WHERE id = 2")
    assert ledger.verify_chain() == 3


@pytest.mark.parametrize("statement", ["UPDATE changes SET why = 'x'", "DELETE FROM changes", "TRUNCATE changes"])
def test_the_database_refuses_to_change_a_line(ledger, url, statement):
    if statement.startswith("TRUNCATE") and url.startswith("sqlite"):
        statement = "DELETE FROM changes WHERE id = 1"
    ledger.append(change())
    with pytest.raises(DBAPIError, match="append-only"), create_engine(url).begin() as connection:
        connection.execute(text(statement))
    assert len(ledger.changes()) == 1


def test_parallel_appends_make_one_chain_without_gaps(ledger):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.append(change(f"k{n % 20}")), range(40)))
    assert sorted(c.id for c in ledger.changes()) == list(range(1, 21))
    assert ledger.verify_chain() is None


def _ensure(url: str) -> None:
    ledger = Ledger(url)
    ledger.ensure()
    ledger.append(change(str(multiprocessing.current_process().pid)))


def test_parallel_first_starts_of_several_processes_all_succeed(url):
    context = multiprocessing.get_context("spawn")
    starts = [context.Process(target=_ensure, args=(url,)) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join(60)
    assert [start.exitcode for start in starts] == [0] * 3
    assert len(Ledger(url).changes()) == 3
    assert Ledger(url).verify_chain() is None


def test_measurements_come_back_oldest_first_and_can_be_asked_for_since_a_time(ledger):
    for hours in range(3):
        ledger.measure("rto", "pyplots", 60.5 + hours, "s", NOON + timedelta(hours=hours), {"backup": str(hours)})
    ledger.measure("rpo", "pyplots", 1, "s")
    assert [m.value for m in ledger.measurements("rto")] == [60.5, 61.5, 62.5]
    assert ledger.measurements("rto")[0].at == NOON
    assert ledger.measurements("rto")[0].labels == {"backup": "0"}
    assert [m.value for m in ledger.measurements("rto", since=NOON + timedelta(hours=1))] == [61.5, 62.5]
    assert [m.value for m in ledger.measurements("rto", limit=1)] == [62.5]
    assert ledger.measurements("rto", subject="other") == []


def test_a_lock_that_is_held_is_refused_with_its_holder(url):
    with Ledger(url).lock("p/api", "caretaker run-17"):
        with pytest.raises(Conflict, match=r"taking the lock p/api .*held by caretaker run-17 .*since 20"):
            Ledger(url).lock("p/api", "caretaker run-18").__enter__()
        with Ledger(url).lock("p/frontend"):
            pass


def test_a_lock_is_free_again_at_once_when_its_holder_is_done(url):
    for _ in range(5):
        with Ledger(url).lock("p/api"):
            pass


def test_a_lock_is_free_again_when_its_holder_fails(url):
    with pytest.raises(ZeroDivisionError), Ledger(url).lock("p/api"):
        1 / 0  # noqa: B018
    with Ledger(url).lock("p/api"):
        pass


def test_a_lock_is_free_again_when_its_holder_is_killed(url):
    program = (
        "import sys, time; from tasks.clients.ledger import Ledger\n"
        "with Ledger(sys.argv[1]).lock('p/api', 'caretaker victim'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Conflict, match="caretaker victim"):
        Ledger(url).lock("p/api").__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    holder.stdout.close()
    _take_within(url, seconds=5)


def _take_within(url: str, seconds: float) -> None:
    """A server notices the end of a killed session a moment later."""
    from tasks.clients.polling import wait_for

    def take() -> bool:
        try:
            with Ledger(url).lock("p/api"):
                return True
        except Conflict:
            return False

    assert wait_for(take, bool, timedelta(seconds=seconds), "the lock")


def test_a_ledger_in_memory_is_refused():
    with pytest.raises(BadInput, match="must be a file"):
        Ledger("sqlite://").ensure()


def test_a_wrong_password_is_told_without_the_password(database):
    wrong = database.replace("postgres:", "postgres:wr0ng-", 1)
    with pytest.raises(NotAllowed, match="password authentication failed") as caught:
        Ledger(wrong).ensure()
    assert "wr0ng" not in repr(caught.value)


def test_a_database_that_is_not_there_is_worth_a_retry(tmp_path):
    with pytest.raises(TransientError, match="preparing the ledger on u@d failed"):
        Ledger(f"postgresql+psycopg://u:p@/d?host={tmp_path}").ensure()


def test_changes_are_read_of_a_time(ledger):
    for hour in range(4):
        ledger.append(change(f"k{hour}", at=NOON + timedelta(hours=hour)))
    found = ledger.changes(since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=3))
    assert [one.key for one in found] == ["k2", "k1"]


MINUTE = timedelta(minutes=1)


def test_turns_at_a_quota_are_shared_by_whoever_has_the_same_ledger(ledger, url):
    other = Ledger(url)
    waits = [(ledger, other)[number % 2].reserve("p/list", 4, MINUTE, MINUTE) for number in range(6)]
    assert waits[:4] == [timedelta()] * 4
    assert all(50 < wait.total_seconds() <= 60 for wait in waits[4:])
    assert other.reserve("q/list", 4, MINUTE, MINUTE) == timedelta(), "another project's quota is its own"


def test_a_turn_that_is_too_far_away_is_refused_and_not_used_up(ledger):
    assert ledger.reserve("p/list", 1, MINUTE, MINUTE) == timedelta()
    for _ in range(3):
        assert ledger.reserve("p/list", 1, MINUTE, timedelta(seconds=0.01)) is None
    wait = ledger.reserve("p/list", 1, MINUTE, 5 * MINUTE)
    assert wait <= MINUTE, "a refused turn was counted"


def _take(url: str, times: int) -> list[float]:
    """In a process of its own: when it had its turns."""
    ledger, had = Ledger(url), []
    for _ in range(times):
        wait = ledger.reserve("p/list", 5, timedelta(seconds=1), MINUTE)
        time.sleep(wait.total_seconds())
        had.append(time.time())
    return had


def test_processes_at_once_and_one_that_was_killed_never_take_more_than_the_quota(database):
    Ledger(database).ensure()
    context = multiprocessing.get_context("spawn")
    killed = context.Process(target=_take, args=(database, 1000))
    killed.start()
    with context.Pool(2) as pool:
        working = pool.starmap_async(_take, [(database, 6)] * 2)
        time.sleep(1.5)
        killed.kill()
        killed.join()
        had = sorted(at for each in working.get(60) for at in each)
    assert len(had) == 12
    spans = [later - earlier for earlier, later in zip(had, had[5:], strict=False)]
    assert min(spans) > 0.3, "six turns at once"  # a busy machine wakes late, and makes a span look shorter
