"""Prefect's own UI, in a real browser: a deploy from its form, and a roll-back that a person approves on the form."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest

from deployments.environment import child_environment
from deployments.stack.programs import HOME
from deployments.stack.registration import register
from tests.deployments.runs import ask
from tests.flows.conftest import deployed
from tests.inbox import Inbox, inbox
from tests.sample import Sample
from tests.stack import Stack
from tests.ui import CHROMIUM, Ui, browser

__all__ = ["inbox"]
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no browser here"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def worker(stack: Stack, inbox: Inbox) -> Iterator[None]:
    """The deployments, registered on the shared stack, and a worker for them that tells the inbox."""
    ask(lambda client: register(client, HOME / "prefect.yaml"))
    env = {**child_environment(stack.state), "PREFECT_WORKER_QUERY_SECONDS": "1", "CARETAKER_NOTIFY_URL": inbox.url}
    command = [sys.executable, "-m", "deployments.stack.worker", "--drain", "0"]
    with (stack.state / "test-worker.log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=HOME, stdout=log, stderr=log)
        yield
        process.terminate()
        process.wait(60)


@pytest.fixture
def estate(new_sample: Callable[..., Sample]) -> Sample:
    """A released estate whose source has moved on, to code that needs another schema."""
    sample = deployed(new_sample("from-ui"))
    sample.variant().with_version("regretted").with_breaking_migration()
    return sample


def page_of(stack: Stack, flow: str) -> str:
    """The path of the page of a flow's deployment: by their names alone the list cannot tell them apart."""
    found = httpx.get(f"{stack.ui}/api/deployments/name/{flow}/pyplots").raise_for_status().json()
    return f"/v2/deployments/deployment/{found['id']}"


def start(ui: Ui, stack: Stack, flow: str, estate: Sample, reason: str, *switches: str) -> None:
    """Fill in the form of a flow, send it, and go to the run."""
    ui.open(page_of(stack, flow))
    ui.click("Run")
    ui.click("Custom run", role="menuitem")
    ui.fill("Estate", str(estate.estate_file))
    ui.fill("Reason", reason)
    for switch in switches:
        ui.switch(switch)
    ui.picture(f"{flow}-form")
    ui.open(f"/v2/runs/flow-run/{ui.send('Submit')}")


def test_a_person_deploys_and_rolls_back_with_nothing_but_the_ui(
    stack: Stack, worker: None, estate: Sample, inbox: Inbox
) -> None:
    before, schema = estate.serving(), estate.schema()
    with browser(stack.ui) as ui:
        ui.open()
        ui.click("Deployments", role="link")
        ui.search("Search deployments", "deploy")
        ui.see("deploy")
        ui.picture("deployments")

        start(ui, stack, "deploy", estate, "a palette from the form", "Approve Outage")
        ui.see_end("Completed")
        regretted = estate.serving()
        assert (regretted != before, estate.schema() != schema) == (True, True)
        ui.picture("deploy-run")
        ui.open_artifact("deploy")
        ui.see("✓ pyplots: released")
        ui.picture("deploy-report")

        start(ui, stack, "roll-back", estate, "the palette is too loud")
        ui.see_end("Suspended")
        assert (estate.serving(), estate.jobs()) == (regretted, [])
        # The schedules fire too, on an estate that is not here: what they tell is not looked at.
        assert len([title for title in inbox.titles if "approval needed" in title]) == 1
        ui.menu("Resume")
        ui.see("Decision")
        ui.see("would serve")
        ui.picture("approval-asked")
        assert f"would serve api {regretted} {before}" in ui.read()
        ui.choose("approve")
        ui.fill("Reason", "it hurts")
        ui.fill("Name", "Ada")
        ui.picture("approval-given")
        ui.click("Resume")
        ui.see_end("Completed")
        ui.picture("roll-back-run")
    assert (estate.serving(), estate.schema()) == (before, schema)
    assert estate.get().status_code == 200
    decided = estate.site.ledger.changes(kind="approval", subject="roll-back", limit=1)[0]
    assert (decided.verdict, decided.after["by"], decided.after["reason"]) == ("approved", "Ada", "it hurts")
