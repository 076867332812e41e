"""The sample's bill: it reaches to this hour, and last week has something to tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.sample_estate import _bill
from tasks.analysis.cost_anomalies import anomalies
from tasks.analysis.cost_freshness import last_week
from tasks.clients.bigquery import BigQuery
from tasks.clients.billing_export import BillingExport, Scope
from tasks.clients.google import Google
from tasks.costs import SKU_HISTORY
from tasks.estate import Costs, Estate
from tasks.settings import Settings

ESTATE = Path(__file__).parents[2] / "estate.toml"
DAY = timedelta(days=1)


@pytest.fixture
def costs(tmp_path: Path, project: str) -> Costs:
    file = tmp_path / "estate.toml"
    file.write_text(ESTATE.read_text().replace("pyplots-local", project))
    found = Estate.load(file).costs
    assert found is not None
    return found


def test_the_bill_is_switched_on_once_and_reaches_to_this_hour(costs: Costs, local_cloud: Any, tmp_path: Path) -> None:
    control = json.loads((local_cloud.state / "localcloud.json").read_text())["control"]
    now = datetime.now(UTC)
    _bill(costs, control, now)
    google = Google(Estate.load(tmp_path / "estate.toml").google, Settings(state=local_cloud.state))
    client = BigQuery(google, costs.maximum_bytes_billed)
    export = BillingExport(client, Scope(costs.table, costs.currency, costs.zone, now))
    week = last_week(now, costs.zone)
    state = export.state(week - 150 * DAY)
    assert state.foreign_lines == 0
    assert state.newest_export is not None
    assert now - state.newest_export < timedelta(hours=2)
    _bill(costs, control, now + 40 * DAY)  # another start, more than a month later
    assert export.state(week - 150 * DAY) == state

    lines = export.sku_days(week - SKU_HISTORY, week + 7 * DAY)
    judged = [week + n * DAY for n in range(4)]
    found = anomalies(lines, judged, costs.least_impact, costs.least_percent)
    assert "Log Storage cost" in {one.sku for one in found}
