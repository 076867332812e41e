"""The care of a database through the flow: on 200 tables with planted needs, every need is met and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tasks.maintenance_models import Effect, MaintenanceVerdict
from tests import planted
from tests.flows.care import Cared
from tests.sample import Sample

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def cared(new_sample: Callable[..., Sample]) -> Iterator[Cared]:
    """A database of 200 tables with planted needs."""
    found = Cared(new_sample("care"))
    with found.connect() as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgstattuple")
        planted.plant(connection)
    return found


@pytest.fixture(scope="module")
def plan(cared: Cared) -> MaintenanceVerdict:
    """A dry run, while an old transaction is open."""
    with cared.connect() as connection, planted.held(connection):
        return cared.care(dry_run=True)


@pytest.fixture(scope="module")
def done(cared: Cared, plan: MaintenanceVerdict) -> MaintenanceVerdict:
    """A run with the approval of that plan, the old transaction being gone."""
    return cared.care(approve=plan.plan.digest)


def targets(verdict: MaintenanceVerdict, *kinds: str) -> set[str]:
    return {action.target.removeprefix("public.") for action in verdict.plan.actions if action.kind in kinds}


def effect(verdict: MaintenanceVerdict, target: str) -> Effect:
    return next(one for one in verdict.effects if one.action.target == f"public.{target}")


def test_every_planted_need_is_in_the_plan_and_no_healthy_table(plan: MaintenanceVerdict) -> None:
    assert targets(plan, "vacuum") == planted.VACUUM | {planted.HELD}
    assert targets(plan, "analyze") == planted.ANALYZE
    assert targets(plan, "reindex") == planted.BLOATED | {planted.BROKEN}
    assert targets(plan, "drop_leftover") == {planted.LEFTOVER}


def test_done(done: MaintenanceVerdict) -> None:
    print(done.report)
    assert done.verdict == "maintained"
