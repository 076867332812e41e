"""The examples for other tools: read as those tools read them, and what they send is accepted by a real receiver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from pydantic import SecretStr

from embedded.ports import free_port
from tasks.clients.notify import send
from tasks.delivery_models import OPEN, Delivery
from tasks.estate import Sender, Source, Webhooks
from tests.conftest import ROOT
from tests.deployments.runs import wait_until
from tests.inbox import Inbox, inbox
from tests.webhooks.receiver import COMMIT, REPOSITORY, Scene, arrivals

__all__ = ["inbox"]
EXAMPLES = ROOT / "docs" / "examples"
#: The sender's secret in the test's Secret Manager.
SECRETS = {"github": "gh", "n8n": "n8n", "actions": "tool"}
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def in_the_page() -> list[dict[str, Any]]:
    """What docs/webhooks.md shows of an estate, block by block."""
    return [tomllib.loads(block) for block in _TOML.findall((ROOT / "docs" / "webhooks.md").read_text())]


def senders() -> dict[str, Sender]:
    """The senders that the page shows."""
    found = [one for block in in_the_page() for one in block.get("webhooks", {}).get("senders", [])]
    return {one["name"]: Sender.model_validate(one) for one in found}


class Served:
    """A receiver with the page's senders, on a port."""

    def __init__(self, folder: Path) -> None:
        known = senders()
        mine = {"repositories": (REPOSITORY,)}
        rules = Webhooks(senders=tuple(
            known[name].model_copy(update={**mine, "secret": secret}) for name, secret in SECRETS.items()
        ))  # fmt: skip
        self.scene, self.port = Scene(folder, rules), free_port()
        self.url = self.scene.receiver.public_url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(uvicorn.Config(self.scene.app, port=self.port, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def secret(self, name: str) -> str:
        return self.scene.secrets.value(SECRETS[name])

    def only(self) -> Delivery:
        (found,) = arrivals(self.scene.inbox)
        return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.thread.start()
    wait_until(lambda: made.server.started, "the receiver")
    yield made
    made.server.should_exit = True
    made.thread.join(10)


def typed(script: str, tmp_path: Path, shell: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    if missing := [name for name in (shell[0], "curl", "openssl") if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed")
    file = tmp_path / "script"
    file.write_text(script)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), **environment}
    return subprocess.run([*shell, str(file)], env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)


def test_what_the_page_shows_of_an_estate_is_one() -> None:
    assert {"github", "n8n", "actions"} <= set(senders())
    (source,) = [block["source"] for block in in_the_page() if "source" in block]
    assert Source.model_validate(source).branch == "main"


def test_the_script_signs_a_push_as_github_does(served: Served, tmp_path: Path) -> None:
    script = (EXAMPLES / "send-push.sh").read_text()
    given = {"URL": served.url, "COMMIT": COMMIT, "REPOSITORY": REPOSITORY}
    sent = typed(script, tmp_path, ["sh"], SECRET=served.secret("github"), **given)
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["status"] == "waiting"
    assert (served.only().commit, served.only().branch) == (COMMIT, "main")
    refused = typed(script, tmp_path, ["sh"], SECRET="not-the-secret-of-the-sender", **given)
    assert (refused.returncode, "401" in refused.stderr) == (22, True)


def test_the_actions_workflow_tells_of_the_commit_after_its_tests(served: Served, tmp_path: Path) -> None:
    workflow = yaml.safe_load((EXAMPLES / "deploy-after-tests.yml").read_text())
    job = workflow["jobs"]["deploy"]
    assert job["needs"] == "test" in workflow["jobs"]
    (step,) = job["steps"]
    assert step["env"]["TOKEN"] == "${{ secrets.CARETAKER_TOKEN }}"
    delivery = step["env"]["DELIVERY"].replace("${{ github.run_id }}", "17")
    given = {"URL": served.url, "DELIVERY": delivery, "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_REF_NAME": "main",
             "GITHUB_SHA": COMMIT, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}  # fmt: skip
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]  # what GitHub makes of "shell: bash"
    assert step["shell"] == "bash"
    for _ in range(2):
        sent = typed(step["run"], tmp_path, bash, TOKEN=served.secret("actions"), **given)
        assert sent.returncode == 0, sent.stderr
    found = served.only()
    assert (found.source, found.delivery, found.commit) == ("actions", "actions-17", COMMIT)
    assert f"{served.url}/deliveries/" in (tmp_path / "summary").read_text()
    refused = typed(step["run"].replace("--retry 5", "--retry 0"), tmp_path, bash, TOKEN="x" * 20, **given)
    assert refused.returncode != 0, "a refusal fails the step"


def workflow(name: str) -> dict[str, Any]:
    """An n8n workflow, whose connections lead to nodes that are there."""
    found: dict[str, Any] = json.loads((EXAMPLES / name).read_text())
    nodes = {node["name"]: node for node in found["nodes"]}
    assert len(nodes) == len(found["nodes"]) == len({node["id"] for node in found["nodes"]})
    for origin, outputs in found["connections"].items():
        targets = [link["node"] for links in outputs["main"] for link in links]
        assert {origin, *targets} <= set(nodes)
    return nodes


def test_the_n8n_workflow_that_calls_is_accepted_and_asks_until_it_is_settled(served: Served) -> None:
    nodes = workflow("n8n-calls-caretaker.json")
    call = nodes["Tell caretaker"]["parameters"]
    assert (call["method"], call["genericAuthType"]) == ("POST", "httpBearerAuth")
    headers = {one["name"]: one["value"].lstrip("=") for one in call["headerParameters"]["parameters"]}
    for expression, value in (("{{ $workflow.id }}", "aB3"), ("{{ $execution.id }}", "9")):
        headers["webhook-id"] = headers["webhook-id"].replace(expression, value)
    assert "{{" not in headers["webhook-id"] + call["jsonBody"], "an expression that this test does not know"
    answer = httpx.post(
        f"{served.url}{httpx.URL(call['url']).path}", json=json.loads(call["jsonBody"].lstrip("=")),
        headers={**headers, "authorization": f"Bearer {served.secret('n8n')}"},
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    assert (served.only().delivery, served.only().branch) == ("n8n-aB3-9", "main")
    asked = nodes["What became of it"]["parameters"]["url"]
    field = re.search(r"json\.(\w+)", asked)
    assert field is not None
    assert httpx.get(answer.json()[field.group(1)]).json()["status"] == "waiting"
    (condition,) = nodes["Under way?"]["parameters"]["conditions"]["conditions"]
    assert tuple(re.findall(r"'(\w+)'", condition["leftValue"])) == OPEN


def test_the_n8n_workflow_that_receives_reads_what_a_notification_has(inbox: Inbox) -> None:
    nodes = workflow("n8n-receives-notifications.json")
    assert nodes["From caretaker"]["parameters"]["httpMethod"] == "POST"
    send(SecretStr(inbox.url), "deploy failed", "why")
    (told,) = inbox.taken
    read = set(re.findall(r"\$json\.body\.(\w+)", json.dumps(list(nodes.values()))))
    assert read == {"title", "message"} <= set(told)
    (condition,) = nodes["Must somebody decide?"]["parameters"]["conditions"]["conditions"]
    source = (ROOT / "tasks" / "approvals.py").read_text()
    assert f'f"{condition["rightValue"]}: {{question.title}}"' in source, "the title of what asks for an approval"
