"""The flow run that a step belongs to: its id for the ledger and our marks, and where a person sees it."""

from __future__ import annotations

from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

NO_RUN = "no-run"


def run_name() -> str:
    """The id of the flow run."""
    return str(flow_run.id or NO_RUN)


def run_link(run: str = "") -> str:
    """Where a person sees a run, this one unless another is named; empty where there is no UI."""
    name = run or run_name()
    link = (url_for("flow-run", obj_id=name) or "") if name != NO_RUN else ""
    return link.replace("/runs/flow-run/", "/v2/runs/flow-run/")  # else Prefect leads to its former UI
