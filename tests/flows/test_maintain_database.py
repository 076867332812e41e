"""The care of a database through the flow: on 200 tables with planted needs, every need is met and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.run import run_flow
from embedded.postgres import Cluster
from flows.maintain_database import maintain_database
from localcloud.sql.roles import ADMIN
from tasks.approvals import Question
from tasks.errors import Conflict, Refused
from tasks.maintenance_models import Effect, MaintenanceVerdict
from tasks.models import Change
from tasks.upkeep_store import ACTION, DEAD, SIZE, XID, opened
from tests import planted
from tests.flows.care import Cared
from tests.flows.suspended import SuspendedRun, with_run
from tests.sample import ROOT, Sample
from tests.stack import Stack
from tests.standby import standby_of

pytestmark = pytest.mark.stack
#: Settings that tell where a server is.
WHERE = ("data_directory", "unix_socket_directories")


@pytest.fixture(scope="module")
def cared(new_sample: Callable[..., Sample]) -> Cared:
    """A database of 200 tables with planted needs."""
    found = Cared(new_sample("care"))
    with found.connect() as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgstattuple")
        planted.plant(connection)
    return found


@pytest.fixture(scope="module")
def planned(cared: Cared, stack: Stack) -> tuple[MaintenanceVerdict, list[str]]:
    """A dry run while an old transaction is open, and the writing calls that it made."""
    after = max((call.seq for call in stack.control.calls(project=cared.sample.project)), default=0)
    with cared.connect() as connection, planted.held(connection):
        verdict = cared.care(dry_run=True)
    writes = stack.control.calls(project=cared.sample.project, writes_only=True, after=after)
    return verdict, [call.method for call in writes]


@pytest.fixture(scope="module")
def light(cared: Cared, planned: tuple[MaintenanceVerdict, list[str]]) -> MaintenanceVerdict:
    """A run without an approval, the old transaction being gone."""
    assert planned[0].verdict == "planned"
    return cared.care()


@pytest.fixture(scope="module")
def whole(cared: Cared, light: MaintenanceVerdict) -> MaintenanceVerdict:
    """A run with the approval of what was left."""
    return cared.care(approve=light.plan.digest[:12])


def targets(verdict: MaintenanceVerdict, *kinds: str) -> set[str]:
    return {action.target.removeprefix("public.") for action in verdict.plan.actions if action.kind in kinds}


def effects(verdict: MaintenanceVerdict, ended: str = "done") -> dict[str, Effect]:
    found = [effect for effect in verdict.effects if effect.ended == ended]
    return {effect.action.target.removeprefix("public."): effect for effect in found}


def test_every_planted_need_is_in_the_plan_and_no_healthy_table_is(
    planned: tuple[MaintenanceVerdict, list[str]]
) -> None:
    plan = planned[0].plan
    assert targets(planned[0], "vacuum") == planted.VACUUM | {planted.HELD}
    assert targets(planned[0], "analyze") == planted.ANALYZE
    assert targets(planned[0], "reindex") == planted.BLOATED | {planted.BROKEN}
    assert targets(planned[0], "drop_leftover") == {planted.LEFTOVER}
    assert [action.target for action in plan.actions if action.freeze] == ["public.old_ids"]
    assert [action.target for action in plan.actions if action.held_by] == [f"public.{planted.HELD}"]
    assert plan.tables == 200


def test_what_is_a_persons_to_change_is_told(planned: tuple[MaintenanceVerdict, list[str]]) -> None:
    told = {(one.kind, one.subject.rpartition(".")[2]) for one in planned[0].plan.advice}
    assert {
        ("duplicate index", planted.DUPLICATE), ("duplicate index", planted.PREFIX),
        ("missing index", planted.FOREIGN_KEY), ("tune", planted.SEQUENCE), ("vacuum held back", "session"),
    } <= told  # fmt: skip


def test_a_dry_run_writes_nothing(planned: tuple[MaintenanceVerdict, list[str]], cared: Cared) -> None:
    assert planned[1] == []
    assert planned[0].plan.digest in planned[0].report or planned[0].plan.digest[:12] in planned[0].report


def test_without_an_approval_the_light_work_is_done_and_the_heavy_waits(light: MaintenanceVerdict) -> None:
    assert light.verdict == "incomplete"
    assert set(effects(light)) == planted.VACUUM | planted.ANALYZE | {planted.HELD}
    waiting = effects(light, "not_approved")
    assert set(waiting) == planted.BLOATED | {planted.BROKEN, planted.LEFTOVER}
    assert all(light.plan.digest[:12] in effect.why for effect in waiting.values())


def test_each_actions_effect_is_measured(light: MaintenanceVerdict, whole: MaintenanceVerdict) -> None:
    found = effects(light)
    for name in ("dead_1", "dead_2", "dead_3", planted.HELD):
        assert (found[name].before["dead_rows"], found[name].after["dead_rows"]) == (1500, 0)
    for name in ("stale_1", "stale_2"):
        assert (found[name].before["changed_rows"], found[name].after["changed_rows"]) == (1400, 0)
    assert (found["never_analyzed"].before["columns_known"], found["never_analyzed"].after["columns_known"]) == (0, 3)
    for name in ("insert_only_1", "insert_only_2"):
        assert (found[name].before["inserted_rows"], found[name].after["visible_percent"]) == (12000, 100)
    assert found["old_ids"].before["xid_age"] >= planted.FREEZE_AGE > found["old_ids"].after["xid_age"]
    found = effects(whole)
    for name in planted.BLOATED:
        assert found[name].after["bytes"] < 0.3 * found[name].before["bytes"]
    assert (found[planted.BROKEN].before["valid"], found[planted.BROKEN].after["valid"]) == (0, 1)
    assert found[planted.LEFTOVER].before
    assert not found[planted.LEFTOVER].after


def test_what_was_done_in_the_window_is_not_done_again(light: MaintenanceVerdict, whole: MaintenanceVerdict) -> None:
    assert whole.verdict == "maintained"
    assert whole.began == light.began
    assert targets(whole, "vacuum", "analyze") == set()
    before = {one.action.key: one.began for one in light.effects if one.ended == "done"}
    assert {one.action.key: one.began for one in whole.effects if one.action.light} == before


def test_afterwards_the_database_is_healthy_and_the_ledger_knows_why(cared: Cared, whole: MaintenanceVerdict) -> None:
    assert whole.plan.digest
    again = cared.care()
    assert (again.verdict, again.plan.actions) == ("nothing_to_do", ())
    ledger = cared.sample.site.ledger
    subject = f"{cared.sample.project}/{cared.database.name}"
    changes = [one for one in ledger.changes(kind="maintenance") if one.inputs["project"] == cared.sample.project]
    told = [(one.inputs["part"], one.verdict) for one in changes]
    assert told == [("heavy", "maintained"), ("heavy", "held"), ("light", "maintained")]
    assert ledger.verify_chain() is None
    assert len(ledger.measurements(ACTION, subject)) == len(whole.effects)
    for name in (XID, SIZE, DEAD):
        assert len(ledger.measurements(name, subject)) == 3, "one of each real run"


def test_the_page_has_charts_and_what_was_done(cared: Cared, whole: MaintenanceVerdict) -> None:
    page = httpx.get(whole.page).raise_for_status().text
    assert "<svg" in page
    for words in ("What will run out, and when", "REINDEX INDEX CONCURRENTLY", "Growth", planted.DUPLICATE):
        assert words in page


def test_a_look_measures_and_changes_nothing(cared: Cared, whole: MaintenanceVerdict) -> None:
    subject = f"{cared.sample.project}/{cared.database.name}"
    before = cared.sample.site.ledger.measurements(XID, subject)
    assert cared.care(look_only=True).verdict == "measured"
    assert len(cared.sample.site.ledger.measurements(XID, subject)) == len(before) + 1
    assert len(cared.sample.site.ledger.measurements(ACTION, subject)) == len(whole.effects)


def test_a_second_run_at_the_same_time_is_refused_with_the_holders_name(cared: Cared) -> None:
    with cared.sample.site.ledger.lock(f"{cared.sample.project}/maintenance/pyplots", holder="caretaker somebody"):
        outcome = cared.outcome()
    assert isinstance(outcome, Conflict)
    assert "caretaker somebody" in str(outcome)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (["window_minutes=0"], "the window has no length; pass window_minutes of 1 or more"),
        (["window_minutes=500"], "window_minutes"),
        (["database=pyplot"], "did you mean pyplots"),
    ],
)
def test_what_cannot_be_done_is_one_line(cared: Cared, parameters: list[str], words: str) -> None:
    pairs = [f"estate={cared.sample.estate_file}", *parameters]
    try:
        line = run_flow("maintain-database", pairs, dry_run=False, as_json=True).line
    except Exception as error:  # noqa: BLE001  a parameter that is refused before the flow begins
        line = str(error)
    assert words in line
    assert "\n" not in line


def test_a_window_that_is_over_is_followed_by_one_that_still_knows_what_was_done(cared: Cared) -> None:
    now = datetime.now(UTC)
    before = opened(cared.database, None, timedelta(minutes=5), ())
    over = before.model_copy(update={"until": now - timedelta(minutes=1)})
    after = opened(cared.database, over, timedelta(minutes=5), ())
    assert after.began == before.began
    assert after.until > now


def test_a_run_that_is_pointed_at_a_standby_is_refused_in_one_line(
    cared: Cared, stack: Stack, short_folder: Path
) -> None:
    with cared.connect("-c role=none") as connection:
        data, sockets = (Path(connection.execute(f"SHOW {name}").fetchall()[0][0]) for name in WHERE)
    after = max((call.seq for call in stack.control.calls(project=cared.sample.project)), default=0)
    with standby_of(Cluster(data, sockets, superuser=ADMIN), short_folder / "care") as standby:
        cared.point_at(standby.socket_dir)
        try:
            outcome = cared.outcome()
        finally:
            cared.point_at(sockets)
    assert isinstance(outcome, Refused)
    assert "is a read-only replica; name its primary instead" in str(outcome)
    assert "\n" not in str(outcome)
    writes = stack.control.calls(project=cared.sample.project, writes_only=True, after=after)
    assert {call.method for call in writes} <= {"SecretManagerService.AddSecretVersion"}, "the test's own"


# --- approved by a person on the form --------------------------------------------------------------------------------


def shelve(cared: Cared, name: str) -> None:
    """A table of which most is deleted: its index is bloated once a VACUUM has emptied it, and not before."""
    with cared.connect() as connection:
        connection.execute(f"CREATE TABLE {name} (id int, note text) WITH (autovacuum_enabled = off)")
        connection.execute(f"INSERT INTO {name} SELECT i, md5(i::text) FROM generate_series(1, 60000) i")
        connection.execute(f"CREATE INDEX {name}_note ON {name} (note)")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute(f"VACUUM ANALYZE {name}")
        connection.execute(f"DELETE FROM {name} WHERE id % 10 <> 0")
        connection.execute("SELECT pg_stat_force_next_flush()")


def index_sizes(cared: Cared) -> dict[str, int]:
    with cared.connect() as connection:
        found = connection.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname ~ '^shelf_._note' ORDER BY 1"
        ).fetchall()
    return dict(found)


def asked(cared: Cared) -> list[Change]:
    """The questions and answers of this database's care in the ledger, the oldest first."""
    found = cared.sample.site.ledger.changes(kind="approval", subject="maintain-database", limit=100)
    return [one for one in reversed(found) if one.inputs["project"] == cared.sample.project]


def test_what_a_person_approves_on_the_form_is_done_by_the_resumed_run_and_a_changed_plan_is_asked_again(
    cared: Cared, whole: MaintenanceVerdict
) -> None:
    assert whole.verdict == "maintained"
    shelve(cared, "shelf_a")
    before = len(asked(cared))

    async def steps(run: SuspendedRun) -> Any:
        assert (await run.work()).name == "Suspended"
        with cared.sample.site.ledger.lock(f"{cared.sample.project}/maintenance/pyplots"):
            pass  # a run that waits for a person holds up nobody
        assert await run.resume(decision="approve", name="Ada") == "ACCEPT"
        shelve(cared, "shelf_b")
        assert (await run.work()).name == "Suspended"
        assert all(size > 2_000_000 for size in index_sizes(cared).values()), "nothing of it was done"
        assert await run.resume(decision="approve", name="Ada", reason="both") == "ACCEPT"
        return await run.work_elsewhere(ROOT / "flows" / "maintain_database.py")

    assert with_run(maintain_database, "care", request_of(cared), steps).is_completed()
    assert set(index_sizes(cared)) == {"shelf_a_note", "shelf_b_note"}
    assert all(size < 1_000_000 for size in index_sizes(cared).values())
    first, again, decided = asked(cared)[before:]
    assert "REINDEX INDEX CONCURRENTLY public.shelf_a_note" in first.inputs["plan"], "seen after the VACUUM"
    assert "is void: the plan has changed since" in again.inputs["note"]
    assert "REINDEX INDEX CONCURRENTLY public.shelf_b_note" in again.inputs["plan"]
    assert (decided.verdict, decided.after["by"], decided.after["reason"]) == ("approved", "Ada", "both")
    assert decided.inputs["digest"] == again.inputs["digest"] != first.inputs["digest"]


def test_a_question_that_nobody_answers_ends_with_nothing_done_and_the_next_run_asks_again(
    cared: Cared, whole: MaintenanceVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whole.verdict == "maintained"
    shelve(cared, "shelf_c")
    size, before = index_sizes(cared)["shelf_c_note"], len(asked(cared))
    monkeypatch.setattr("tasks.upkeep_question.Question", partial(Question, patience=timedelta(seconds=1)))

    async def steps(run: SuspendedRun) -> tuple[Any, Any]:
        assert (await run.work()).name == "Suspended"
        await asyncio.sleep(1.2)
        assert await run.resume(decision="approve") in ("REJECT", "ABORT")
        return await run.state(), await (await run.another()).work()

    ended, again = with_run(maintain_database, "late", request_of(cared), steps)
    assert (ended.is_failed(), "never resumed" in ended.message) == (True, True)
    assert again.name == "Suspended"
    assert index_sizes(cared)["shelf_c_note"] == size
    first, second = asked(cared)[before:]
    assert first.inputs["digest"] == second.inputs["digest"]


def request_of(cared: Cared) -> dict[str, Any]:
    return {"request": {"estate": str(cared.sample.estate_file)}}
