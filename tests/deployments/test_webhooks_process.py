"""The receiver as a process: its secrets from Secret Manager, its deliveries to Prefect, and what a kill -9 leaves."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from tests.deployments.runs import wait_until
from tests.flows.rotations import enabled, rotate
from tests.stack import Stack
from tests.webhooks.followed import Followed
from tests.webhooks.process import ReceiverProcess, Sender

SECRET = "the-first-secret-of-github/+="
OUTCOMES = {"deployed", "superseded", "already_released", "ignored", "failed"}


@pytest.fixture(scope="module")
def followed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    made = Followed(tmp_path_factory.mktemp("receiver"))
    for name in ("github-webhook", "n8n-webhook"):
        made.site.secrets.create_secret(name)
        made.site.secrets.add_version(name, SecretStr(SECRET))
    return made


@pytest.fixture(scope="module")
def receiver(followed: Followed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    made = ReceiverProcess(followed.sample.estate_file, tmp_path_factory.mktemp("log") / "receiver.log")
    made.start()
    yield made
    assert made.end() == -signal.SIGTERM, "uvicorn ends what it serves, and then lets the signal have its way"


def test_a_delivery_becomes_a_run_within_seconds_and_the_status_url_tells_it(
    followed: Followed, receiver: ReceiverProcess
) -> None:
    sender = Sender(receiver.url, SECRET)
    answer = sender.send("d-1", followed.commits[0])
    assert answer is not None
    assert answer.status_code == 202
    assert answer.json()["status_url"].startswith(receiver.url)
    wait_until(lambda: sender.status("d-1")["status"] == "running", "the delivery to be handed over")
    assert followed.refs() == [followed.commits[0]]
    followed.released(followed.commits[0])
    wait_until(lambda: sender.status("d-1")["status"] == "deployed", "the delivery's outcome")
    assert sender.status("d-1")["run"] == str(followed.runs()[0].id)


def test_kill_9_under_load_loses_nothing_that_was_acknowledged_and_makes_one_run(
    followed: Followed, receiver: ReceiverProcess
) -> None:
    commits = [followed.commit() for _ in range(4)]
    sender, stop, before = Sender(receiver.url, SECRET), threading.Event(), len(followed.runs())

    def load() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            while sender.send(f"load-{number}", commits[number % 4]) is None and not stop.is_set():
                time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_until(lambda: len(sender.acknowledged) > 20, "some deliveries")
        receiver.kill()
        killed_at = len(sender.acknowledged)
        receiver.start()
        wait_until(lambda: len(sender.acknowledged) > killed_at + 20, "more deliveries")
    finally:
        stop.set()
        thread.join()
    followed.hand_over.inbox.close()

    def settled() -> bool:
        open_ = followed.hand_over.inbox.open()
        for run in followed.runs():
            if not (run.state and run.state.is_final()):
                followed.released(run.parameters["request"]["ref"])
        return not open_

    wait_until(settled, "every delivery to have its outcome")
    found = {number: sender.status(number)["status"] for number in sender.acknowledged}
    assert set(found.values()) <= OUTCOMES, found
    refs = followed.refs()[before:]
    assert refs[-1] == commits[3]
    assert len(refs) == len(set(refs)), "no commit was released twice"
    places = [commits.index(ref) for ref in refs]
    assert places == sorted(places), "no older commit came after a newer one"
    assert set(sender.statuses) == {202}


def test_what_may_not_come_in_is_refused_over_http_too_before_it_is_read(receiver: ReceiverProcess) -> None:
    with httpx.Client(base_url=receiver.url, timeout=10) as http:
        headers = {"content-type": "application/json"}
        assert http.post("/hooks/github", content=b"{}", headers=headers).status_code == 401
        big = http.post("/hooks/github", content=(b"x" * 65536 for _ in range(100)), headers=headers)
        assert big.status_code == 413
        assert http.get("/healthz").json() == {"status": "ok"}


def test_a_secret_that_was_rotated_is_taken_within_the_renewal(followed: Followed, receiver: ReceiverProcess) -> None:
    other = "the-second-secret-of-github/+="
    followed.site.secrets.add_version("github-webhook", SecretStr(other))
    new, old = Sender(receiver.url, other), Sender(receiver.url, SECRET)

    def accepted() -> bool:
        answer = new.send("rotated", followed.commits[0], branch="elsewhere")
        return answer is not None and answer.status_code == 202

    wait_until(accepted, "the new secret", 40)
    assert old.send("not-yet-rotated", followed.commits[0], branch="elsewhere").status_code == 202  # type: ignore[union-attr]


def test_a_rotation_tells_what_a_person_must_give_to_whom_and_the_old_version_stays_until_then(
    followed: Followed, receiver: ReceiverProcess
) -> None:
    before = enabled(followed.sample, "github-webhook")
    Sender(receiver.url, SECRET).send("before-the-rotation", followed.commits[0], branch="elsewhere")
    found = rotate(followed.sample, secrets=("github-webhook",))
    (outcome,) = found.outcomes
    assert outcome.verdict in ("waiting", "held"), outcome.why
    assert "sender github signs with an older version" in outcome.why
    new = outcome.versions["github-webhook"]
    assert enabled(followed.sample, "github-webhook") == [*before, new]
    assert any(f"access {new} --secret=github-webhook" in one.way_out for one in outcome.findings)


def test_it_listens_on_loopback_alone(receiver: ReceiverProcess) -> None:
    import psutil

    listening = [one.laddr.ip for one in psutil.Process(receiver.pid).net_connections() if one.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    assert not any(SECRET in text for text in (*psutil.Process(receiver.pid).cmdline(), *os.environ.values()))


