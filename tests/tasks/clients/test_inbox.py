"""The inbox, on SQLite and a real PostgreSQL: once or not at all, one release under way, each step from its status."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from tasks.clients.inbox import KEPT, Inbox
from tasks.clients.ledger import Ledger
from tasks.delivery_models import Arrival, Delivery, Settlement
from tasks.errors import Conflict, TransientError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMIT = "a" * 40


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def inbox(url: str) -> Inbox:
    made = Inbox(url, "p", sessions=8)
    made.ensure()
    return made


def arrival(number: int = 1, **fields: Any) -> Arrival:
    made = {"source": "github", "delivery": f"d{number}", "event": "push", "digest": str(number), "commit": COMMIT}
    return Arrival.model_validate({**made, **fields})


def accepted(inbox: Inbox, number: int = 1, **fields: Any) -> Delivery:
    return inbox.accept(arrival(number, **fields), NOON)


def test_a_delivery_comes_back_as_it_was_written_and_by_its_ticket(inbox: Inbox) -> None:
    written = accepted(inbox)
    assert (written.status, written.received, written.project) == ("waiting", NOON, "p")
    assert inbox.open() == [written]
    assert inbox.by_ticket(written.ticket) == written
    assert inbox.by_ticket("d1") is None


def test_it_knows_by_which_versions_each_senders_deliveries_were_proved_and_when(inbox: Inbox) -> None:
    for number, version in enumerate((1, 1, 2), 1):
        inbox.accept(arrival(number, secret_version=version), NOON + timedelta(minutes=number))
    inbox.accept(arrival(1, source="n8n", secret_version=4), NOON)
    Inbox(inbox._secret, "another").accept(arrival(secret_version=9), NOON)
    found = {(one.source, one.version): (one.first - NOON, one.last - NOON) for one in inbox.signatures()}
    one, two, three = (timedelta(minutes=n) for n in (1, 2, 3))
    assert found == {("github", 1): (one, two), ("github", 2): (three, three), ("n8n", 4): (timedelta(), timedelta())}


def test_an_inbox_of_the_version_before_keeps_its_deliveries(url: str) -> None:
    old = Inbox(url, "p")
    old.ensure()
    kept = accepted(old)
    with old._engine.begin() as connection:
        connection.execute(text("ALTER TABLE deliveries DROP COLUMN secret_version"))
        connection.execute(text("UPDATE ledger_schema SET version = 2"))
    new = Inbox(url, "p")
    new.ensure()
    assert new.open() == [kept]
    assert [one.version for one in new.signatures()] == [0]


def test_of_an_inbox_that_filled_up_a_part_is_looked_at_and_what_is_under_way_is_always_in_it(inbox: Inbox) -> None:
    numbers = [accepted(inbox, number).id for number in range(1, 6)]
    assert inbox.choose(numbers[4], COMMIT, [], NOON)
    assert [one.id for one in inbox.open(3)] == [numbers[4], *numbers[:2]]


def test_what_comes_together_is_one_transaction_and_what_was_there_before_is_given_as_it_is(inbox: Inbox) -> None:
    first = accepted(inbox, 3)
    assert inbox.choose(first.id, COMMIT, [], NOON)
    together = [arrival(4), arrival(3), arrival(1), arrival(4), arrival(9, digest="1")]
    found = inbox.accept_all(together, NOON)
    assert [one.delivery for one in found] == ["d4", "d3", "d1", "d4", "d1"], "the last one is d1's content once more"
    assert (found[1].status, found[0].id) == ("chosen", found[3].id)
    assert len(inbox.open()) == 3


def test_fifty_at_once_are_one(inbox: Inbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: inbox.accept(arrival(), NOON), range(50)))
    assert len({one.id for one in found}) == 1
    assert len(inbox.open()) == 1


def test_the_same_id_of_another_sender_or_project_is_another_delivery(inbox: Inbox, url: str) -> None:
    ids = {accepted(inbox).id, accepted(inbox, source="n8n").id, accepted(Inbox(url, "other")).id}
    assert len(ids) == 3
    assert len(inbox.open()) == 2


def test_what_asks_for_nothing_is_settled_in_the_same_transaction(inbox: Inbox) -> None:
    found = accepted(inbox, ignored="ping")
    assert (found.status, found.note, found.settled) == ("ignored", "ping", NOON)
    assert inbox.open() == []


def test_one_release_is_under_way_at_a_time_whoever_asks(inbox: Inbox, url: str) -> None:
    first, second = accepted(inbox), accepted(inbox, 2)
    other = accepted(Inbox(url, "other"), 3)
    assert inbox.choose(first.id, COMMIT, [], NOON)
    with pytest.raises(Conflict, match="another release is under way"):
        inbox.choose(second.id, COMMIT, [], NOON)
    assert Inbox(url, "other").choose(other.id, COMMIT, [], NOON)
    assert {one.id: one.status for one in inbox.open()} == {first.id: "chosen", second.id: "waiting"}


def test_what_is_chosen_and_what_it_stands_for_are_written_together_or_not(inbox: Inbox) -> None:
    first, second, third = (accepted(inbox, number) for number in (1, 2, 3))
    outcome = [Settlement(id=third.id, status="superseded", note="by d1")]
    assert inbox.choose(first.id, COMMIT, [], NOON)
    with pytest.raises(Conflict):
        inbox.choose(second.id, COMMIT, outcome, NOON)
    assert inbox.open()[2].status == "waiting"
    assert not inbox.choose(first.id, COMMIT, outcome, NOON), "it is not waiting any more"
    assert inbox.open()[2].status == "waiting"


def test_each_step_goes_on_from_its_status_alone_so_an_outcome_stays(inbox: Inbox) -> None:
    one = accepted(inbox)
    inbox.started(one.id, "r")
    assert inbox.open()[0].run == "", "it was not chosen"
    inbox.choose(one.id, COMMIT, [], NOON)
    inbox.started(one.id, "r")
    inbox.started(one.id, "r2")
    assert (inbox.open()[0].status, inbox.open()[0].run) == ("running", "r")
    inbox.ended(one.id, "deployed", "by r", NOON)
    inbox.ended(one.id, "failed", "late", NOON)
    inbox.settle([Settlement(id=one.id, status="ignored", note="late")], NOON)
    inbox.again(one, "late", NOON)
    found = inbox.by_ticket(one.ticket)
    assert found is not None
    assert (found.status, found.note, found.run, found.settled) == ("deployed", "by r", "r", NOON)


def test_a_run_that_came_to_nothing_is_tried_again_with_another_key(inbox: Inbox) -> None:
    one = accepted(inbox)
    inbox.choose(one.id, COMMIT, [], NOON)
    inbox.started(one.id, "r")
    inbox.again(inbox.open()[0], "run r crashed", NOON + timedelta(seconds=10))
    (found,) = inbox.open()
    assert (found.status, found.attempts, found.run, found.due) == ("waiting", 1, "", NOON + timedelta(seconds=10))


def test_what_was_settled_long_ago_is_forgotten_and_nothing_else(inbox: Inbox) -> None:
    old, recent, waiting = accepted(inbox, 1, ignored="x"), accepted(inbox, 2, ignored="x"), accepted(inbox, 3)
    inbox.forget(NOON + KEPT - timedelta(seconds=1))
    assert inbox.by_ticket(old.ticket)
    with create_engine(str(inbox._url.render_as_string(hide_password=False))).begin() as connection:
        connection.execute(text("UPDATE deliveries SET settled = :at WHERE id = 2"), {"at": NOON + timedelta(days=1)})
    inbox.forget(NOON + KEPT + timedelta(seconds=1))
    assert [inbox.by_ticket(one.ticket) is None for one in (old, recent, waiting)] == [True, False, False]


def test_the_inbox_of_version_1_is_renewed_and_the_ledgers_lines_stay(url: str) -> None:
    Ledger(url).ensure()
    with create_engine(url).begin() as connection:
        connection.execute(text("DROP TABLE deliveries"))
        connection.execute(text("CREATE TABLE deliveries (id integer PRIMARY KEY, payload text)"))
        connection.execute(text("UPDATE ledger_schema SET version = 1"))
    Ledger(url).measure("rto", "db", 1.0, "s", at=NOON)
    Inbox(url, "p").ensure()
    assert accepted(Inbox(url, "p")).status == "waiting"
    assert len(Ledger(url).measurements("rto")) == 1
    assert inspect(create_engine(url)).has_table("deliveries")


def test_a_database_that_does_not_answer_is_a_transient_error() -> None:
    away = Inbox("postgresql://nobody:x@127.0.0.1:1/none", "p", sessions=2)
    with pytest.raises(TransientError):
        away.accept(arrival(), NOON)
