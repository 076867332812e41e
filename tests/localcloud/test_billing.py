"""The generated bill: the same whenever it is made, and believable. Its export: ``test_bigquery``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from localcloud.bigquery.engine import Engine
from localcloud.bigquery.types import checked_schema
from localcloud.billing import rows
from localcloud.billing.bill import SKUS, Bill, Planted
from localcloud.billing.schema import DETAILED, STANDARD

SINCE = date(2026, 9, 1)
START, END = datetime(2026, 8, 31, tzinfo=UTC), datetime(2026, 10, 20, 7, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine(tmp_path_factory.mktemp("billing"))
    for name, schema in (("whole", STANDARD), ("steps", STANDARD), ("twice", DETAILED)):
        engine.create(name, checked_schema(schema))
    add(engine, "whole", START, END)
    moment = START
    while moment < END:
        after, moment = moment, min(END, moment + timedelta(days=7, hours=5))
        add(engine, "steps", after, moment)
    add(engine, "twice", START, END, copies=2)
    return engine


def add(engine: Engine, inside: str, after: datetime, upto: datetime, copies: int = 1) -> None:
    making = rows.Making("A", "p", "EUR", copies, after, upto, inside == "twice")
    with engine.transaction() as cursor:
        rows.insert(cursor, inside, Bill(3, SINCE), making)


def look(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    with engine.cursor() as cursor:
        return list(cursor.execute(sql).fetchall())


def test_an_export_that_comes_in_steps_has_the_lines_of_one_that_comes_at_once(engine: Engine) -> None:
    (whole,) = look(engine, "SELECT count(*), sum(CAST(cost AS DECIMAL(38, 9))) FROM tables.whole")
    assert whole == look(engine, "SELECT count(*), sum(CAST(cost AS DECIMAL(38, 9))) FROM tables.steps")[0]
    assert whole[0] > 10_000
    assert look(engine, "SELECT count(*) FROM (FROM tables.whole EXCEPT FROM tables.steps)") == [(0,)]


def test_more_copies_are_more_lines_of_the_same_money(engine: Engine) -> None:
    sums = "SELECT count(*), sum(cost) FROM tables.{}"
    (once,), (twice,) = look(engine, sums.format("whole")), look(engine, sums.format("twice"))
    assert twice[0] == pytest.approx(2 * once[0], rel=0.01)
    assert twice[1] == pytest.approx(once[1], rel=0.02)
    assert {name for (name,) in look(engine, "SELECT DISTINCT resource.name FROM tables.twice")} == {"r-0", "r-1"}


def test_money_has_six_decimals_and_credits_give_back(engine: Engine) -> None:
    assert look(engine, "SELECT count(*) FROM tables.whole WHERE cost <> round(cost, 6) OR cost < 0") == [(0,)]
    (share,) = look(
        engine, "SELECT avg(list_sum(list_transform(credits, lambda c: c.amount)) / cost) FROM tables.whole "
        "WHERE len(credits) > 0 AND cost > 0.01"
    )  # fmt: skip
    assert -0.3 < share[0] < -0.1


def test_few_lines_come_late_and_none_later_than_it_may(engine: Engine) -> None:
    lag = "epoch(export_time - usage_end_time) / 3600"
    (told,) = look(engine, f"SELECT min({lag}), max({lag}), avg(CAST({lag} >= 24 AS INTEGER)) FROM tables.whole")
    assert told[0] == 1
    assert 100 < told[1] <= 24 * 7
    assert 0.01 < told[2] < 0.03


def test_a_bill_is_the_same_however_far_it_is_read() -> None:
    assert (Bill(3, SINCE).amounts(40) == Bill(3, SINCE).amounts(90)[:40]).all()
    assert not (Bill(3, SINCE).amounts(40) == Bill(4, SINCE).amounts(40)).all()


def test_a_planted_anomaly_multiplies_its_days_and_no_others() -> None:
    calm = Bill(3, SINCE, random_anomalies=False)
    planted = Planted("Requests", SINCE + 10 * DAY, 2, 5.0)
    ratio = Bill(3, SINCE, (planted,), random_anomalies=False).amounts(20) / np.maximum(calm.amounts(20), 1e-12)
    index = [sku.name for sku in SKUS].index("Requests")
    assert list(np.flatnonzero(ratio[:, index] > 1.5)) == [10, 11]
    assert ratio[10, index] == pytest.approx(5.0)
    with pytest.raises(ValueError, match="there is no SKU Nonsense"):
        Bill(3, SINCE, (Planted("Nonsense", SINCE, 1, 2.0),)).amounts(3)


def test_a_bill_has_weekends_and_a_charge_on_each_first() -> None:
    costs = Bill(8, date(2026, 6, 1)).amounts(61)
    support = [sku.monthly for sku in SKUS].index(True)
    assert list(np.flatnonzero(costs[:, support])) == [0, 30]


def test_the_schemas_have_the_documented_fields() -> None:
    names = [field["name"] for field in STANDARD]
    assert {"billing_account_id", "invoice", "cost_type", "service", "sku", "project", "labels"} <= {*names}
    assert {"system_labels", "usage", "credits", "adjustment_info", "export_time", "currency", "tags"} <= {*names}
    assert [field["name"] for field in DETAILED[len(STANDARD) :]] == ["resource", "price"]
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
