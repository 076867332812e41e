"""The receiver, asked over ASGI: who is let in, what is written down, and what every answer says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from deployments.webhooks.known_secrets import RENEWAL_SECONDS, STALE_SECONDS, KnownSecrets
from deployments.webhooks.limits import MOST_ADDRESSES, Limits
from tasks.estate import Source
from tests.webhooks.receiver import (
    COMMIT,
    RULES,
    Scene,
    Secrets,
    arrivals,
    github_headers,
    push,
    release,
    workflow_run,
)

DEPLOY: dict[str, Any] = {"type": "deploy", "data": {"repository": "example/pyplots", "branch": "main"}}
UNAUTHORIZED = {"error": "unauthorized"}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def status_path(answer: Any) -> str:
    return str(answer.json()["status_url"]).removeprefix("http://receiver")


async def told(scene: Scene, answer: Any) -> dict[str, Any]:
    """What the delivery's status URL says."""
    async with scene.client() as client:
        return dict((await client.get(status_path(answer))).json())


async def test_a_push_is_written_down_and_acknowledged_with_its_status_url(scene: Scene) -> None:
    answer = await scene.github(push())
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["status_url"]
    found = await told(scene, answer)
    assert (found["status"], found["commit"], found["delivery"]) == ("waiting", COMMIT, "d-1")
    assert [one.commit for one in scene.inbox.open()] == [COMMIT]


async def test_the_version_of_the_secret_that_proved_it_is_written_down_by_its_number_alone(scene: Scene) -> None:
    await scene.github(push())
    old = scene.secrets.value("gh")
    scene.secrets.add("gh", "another-secret-of-16-bytes")
    scene.known.renew()
    await scene.github(push("b" * 40), number="d-2")
    raw = json.dumps(push("c" * 40)).encode()
    await scene.post("github", raw, github_headers(old, raw, number="d-3"))
    assert [one.secret_version for one in arrivals(scene.inbox)] == [1, 2, 1]


async def test_of_what_comes_together_each_has_its_own_answer_and_little_is_a_transaction(scene: Scene) -> None:
    transactions: list[int] = []
    real = scene.inbox.accept_all

    def counted(arrivals: Any, now: datetime) -> Any:
        transactions.append(len(arrivals))
        return real(arrivals, now)

    scene.inbox.accept_all = counted  # type: ignore[method-assign]
    bodies = [push(f"{number:040x}") for number in range(60)]
    answers = await asyncio.gather(*(scene.github(body, number=f"d-{n}") for n, body in enumerate(bodies)))
    assert [answer.json()["delivery"] for answer in answers] == [f"d-{n}" for n in range(60)]
    assert [answer.json()["commit"] for answer in answers] == [body["after"] for body in bodies]
    assert sum(transactions) == 60 > 10 > len(transactions)


async def test_the_same_delivery_fifty_times_is_one(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.github(push()) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["status_url"] for answer in answers}) == 1
    assert len(scene.inbox.open()) == 1


async def test_a_captured_delivery_under_another_id_is_the_same(scene: Scene) -> None:
    # GitHub does not sign the id of a delivery.
    first, again = await scene.github(push()), await scene.github(push(), number="d-2")
    assert again.json()["status_url"] == first.json()["status_url"]
    assert len(scene.inbox.open()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"x_hub_signature_256": ""}, {"x_hub_signature_256": "sha256=" + "0" * 64}, {"x_hub_signature_256": "sha256="},
        {"x_hub_signature_256": "sha1=x", "x_hub_signature": "sha1=x"}, {"x_hub_signature_256": "ü"},
    ],
)  # fmt: skip
async def test_every_wrong_signature_gets_the_same_answer(scene: Scene, headers: dict[str, str]) -> None:
    raw = json.dumps(push()).encode()
    made = [(k, v.encode()) for k, v in github_headers(scene.secrets.value("gh"), raw, **headers).items()]
    answer = await scene.post("github", raw, made)
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
    assert arrivals(scene.inbox) == []


async def test_a_signature_that_stands_twice_is_none(scene: Scene) -> None:
    raw = json.dumps(push()).encode()
    pairs = [*github_headers(scene.secrets.value("gh"), raw).items(), ("X-Hub-Signature-256", "sha256=" + "0" * 64)]
    assert (await scene.post("github", raw, pairs)).status_code == 401


async def test_a_body_that_was_changed_by_one_byte_is_refused(scene: Scene) -> None:
    raw = json.dumps(push()).encode()
    headers = github_headers(scene.secrets.value("gh"), raw)
    assert (await scene.post("github", raw + b" ", headers)).status_code == 401
    assert (await scene.post("github", raw, headers)).status_code == 202


async def test_an_unknown_sender_is_answered_as_a_wrong_signature(scene: Scene) -> None:
    raw = json.dumps(push()).encode()
    answer = await scene.post("nobody", raw, github_headers(scene.secrets.value("gh"), raw))
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


async def test_old_and_new_secret_are_accepted_during_a_rotation_and_a_disabled_one_is_not(scene: Scene) -> None:
    raw = json.dumps(push()).encode()
    old = github_headers(scene.secrets.value("gh"), raw)
    scene.secrets.add("gh", "the-next-secret-of-the-rotation")
    scene.known.renew()
    assert (await scene.post("github", raw, old)).status_code == 202
    assert (await scene.github(push())).status_code == 202
    scene.secrets.disable("gh", 1)
    scene.known.renew()
    assert (await scene.post("github", raw, old)).status_code == 401
    assert (await scene.github(push())).status_code == 202
    assert scene.secrets.reads == 4, "each version is read once"


async def test_a_secret_that_could_be_guessed_proves_nothing(scene: Scene) -> None:
    scene.secrets.kept["gh"] = {1: ("ENABLED", "short")}
    known = KnownSecrets(scene.secrets, {"gh"})  # type: ignore[arg-type]
    known.renew()
    scene.receiver.secrets = known
    assert (await scene.github(push())).status_code == 401


def test_secrets_outlive_a_short_outage_of_secret_manager_and_not_a_long_one() -> None:
    now, secrets = [0.0], Secrets()
    known = KnownSecrets(secrets, {"gh", "missing"}, clock=lambda: now[0])  # type: ignore[arg-type]
    known.renew()
    assert known.incomplete
    assert known.versions("missing") == {}
    secrets.away, now[0] = True, RENEWAL_SECONDS * 2
    known.renew()
    assert [value.get_secret_value() for value in known.versions("gh").values()] == [secrets.value("gh")]
    now[0] = STALE_SECONDS + 1
    known.renew()
    assert known.versions("gh") == {}


async def test_standard_webhooks_prove_id_time_and_body(scene: Scene) -> None:
    assert (await scene.standard(DEPLOY)).status_code == 202
    assert (await scene.standard(DEPLOY, webhook_id="m-2")).status_code == 401, "the id is signed"
    for minutes in (-6, 6):
        late = datetime.now(UTC) + timedelta(minutes=minutes)
        assert (await scene.standard(DEPLOY, number="m-3", at=late)).status_code == 401
    for wrong in ("v1", "v1,", "v2,AAAA", "v1,*", "a,b,c", "v1," + "A" * 44):
        assert (await scene.standard(DEPLOY, number="m-4", webhook_signature=wrong)).status_code == 401


async def test_one_good_signature_among_several_is_enough(scene: Scene) -> None:
    raw, now = json.dumps(DEPLOY).encode(), datetime.now(UTC)
    from tests.webhooks.receiver import standard_headers

    made = standard_headers(scene.secrets.value("n8n"), raw, "m-1", now)
    made["webhook-signature"] = f"v1,{'A' * 43}= {made['webhook-signature']} v1a,anything"
    assert (await scene.post("n8n", raw, made)).status_code == 202


async def test_a_bearer_token_is_compared_whole(scene: Scene) -> None:
    token = scene.secrets.value("tool")
    base = {"content-type": "application/json", "webhook-id": "t-1"}
    raw = json.dumps(DEPLOY).encode()
    for wrong in (token[:-1], token + " ", token.upper(), ""):
        assert (await scene.post("tool", raw, {**base, "authorization": f"Bearer {wrong}"})).status_code == 401
    assert (await scene.post("tool", raw, {**base, "authorization": f"Basic {token}"})).status_code == 401
    assert (await scene.post("tool", raw, {**base, "authorization": f"bearer {token}"})).status_code == 202


async def test_an_authentic_sender_may_not_speak_of_another_repository(scene: Scene) -> None:
    other = push() | {"repository": {"full_name": "example/other"}}
    assert (await scene.github(other)).status_code == 403
    assert (await scene.standard({"type": "deploy", "data": {"repository": "a/b"}})).status_code == 403
    assert arrivals(scene.inbox) == []


@pytest.mark.parametrize(
    ("event", "body", "says"),
    [
        ("ping", {"zen": "x"}, "ping"),
        ("issues", push(), "may not release"),
        ("push", push(deleted=True), "deleted"),
        ("push", push(branch="feature/x"), "not the branch"),
        ("push", push() | {"ref": "refs/tags/v1"}, "tag"),
        ("release", release("created"), "published"),
        ("release", release(prerelease=True), "pre-release"),
        ("workflow_run", workflow_run(conclusion="failure"), "succeeded"),
        ("workflow_run", workflow_run(head_repository={"full_name": "fork/pyplots"}), "repository itself"),
        ("workflow_run", workflow_run(head_repository=None), "repository itself"),
        ("workflow_run", workflow_run(event="pull_request"), "repository itself"),
        ("workflow_run", workflow_run(path=".github/workflows/docs.yml@main"), "another workflow"),
    ],
)
async def test_what_asks_for_nothing_is_acknowledged_and_the_status_says_why(
    scene: Scene, event: str, body: dict[str, Any], says: str
) -> None:
    found = await told(scene, await scene.github(body, event=event))
    assert found["status"] == "ignored"
    assert says in found["note"]
    assert found["settled"]
    assert scene.inbox.open() == []


@pytest.mark.parametrize(
    ("event", "body", "wanted"),
    [("release", release(), ("", "", "v1")), ("workflow_run", workflow_run(), ("main", COMMIT, "")),
     ("push", push(), ("main", COMMIT, ""))],
)  # fmt: skip
async def test_what_asks_for_a_release_waits_with_its_commit_or_tag(
    scene: Scene, event: str, body: dict[str, Any], wanted: tuple[str, ...]
) -> None:
    assert (await scene.github(body, event=event)).status_code == 202
    (one,) = scene.inbox.open()
    assert (one.branch, one.commit, one.tag) == wanted


async def test_where_tests_are_the_gate_a_push_waits_for_the_workflow_run(tmp_path: Path) -> None:
    scene = Scene(tmp_path, source=Source(repository=".", gate="tests"))
    assert "its tests" in (await told(scene, await scene.github(push())))["note"]
    assert (await told(scene, await scene.github(workflow_run(), "workflow_run", "d-2")))["status"] == "waiting"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":-Infinity}',
        b'{"a":' + b"9" * 5000 + b"}", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":' * 50_000, b"{}",
        json.dumps(push(commit="A" * 40)).encode(), json.dumps(push(branch="--upload-pack=x")).encode(),
        json.dumps(push(branch="a/../b")).encode(), json.dumps(push(commit="\ud800" * 40)).encode(),
        json.dumps(push(commit="a" * 39 + "\x00")).encode(), json.dumps(push(commit=COMMIT + "\n")).encode(),
    ],
    ids=lambda body: f"{len(body)}-{body[:12]!r}",
)  # fmt: skip
async def test_an_authentic_body_that_is_not_understood_is_refused_well(scene: Scene, body: bytes) -> None:
    answer = await scene.github(body)
    assert answer.status_code in (400, 403), answer.text
    assert arrivals(scene.inbox) == []


@pytest.mark.parametrize("number", ["", "a b", "x" * 129, "../1", "ä"])
async def test_a_delivery_without_a_proper_id_is_refused(scene: Scene, number: str) -> None:
    raw = json.dumps(push()).encode()
    made = [(k, v.encode()) for k, v in github_headers(scene.secrets.value("gh"), raw, number=number).items()]
    assert (await scene.post("github", raw, made)).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [{"content_type": "text/plain"}, {"content_type": ""}, {"content_type": "application/json; charset=latin-1"},
     {"content_type": "application/x-www-form-urlencoded"}, {"content_encoding": "gzip"}],
)  # fmt: skip
async def test_anything_but_plain_json_is_415(scene: Scene, headers: dict[str, str]) -> None:
    assert (await scene.github(push(), **headers)).status_code == 415


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read_whole(scene: Scene) -> None:
    limit, read = RULES.max_body_bytes, [0]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            read[0] += 65536
            yield b"x" * 65536

    headers = {"content-type": "application/json"}
    async with scene.client() as client:
        length = {"content-length": str(limit + 1)}
        told_length = await client.post("/hooks/github", content=b"", headers={**headers, **length})
        chunked = await client.post("/hooks/github", content=pieces(), headers=headers)
    assert (told_length.status_code, chunked.status_code) == (413, 413)
    assert read[0] <= limit + 2 * 65536


async def test_bodies_of_all_requests_together_are_bounded_and_given_back(scene: Scene) -> None:
    from deployments.webhooks.reading import Room

    big = b'{"x":"' + b"y" * 3000 + b'"}'
    scene.receiver.room = Room(4000)
    assert (await scene.github(big)).status_code in (400, 403)
    assert (await scene.github(big)).status_code in (400, 403), "what was held was given back"
    scene.receiver.room = Room(2000)
    assert (await scene.github(big)).status_code == 429


async def test_who_asks_too_much_is_told_when_to_come_back_and_others_are_served(tmp_path: Path) -> None:
    scene = Scene(tmp_path, RULES.model_copy(update={"requests_per_second": 1.0, "burst": 20}))
    raw = json.dumps(push()).encode()
    good = github_headers(scene.secrets.value("gh"), raw)
    async with scene.client("198.51.100.7") as guesser:
        answers = [await guesser.post("/hooks/github", content=raw, headers={**good, "x-hub-signature-256": "x"})
                   for _ in range(4)]  # fmt: skip
    assert [one.status_code for one in answers] == [401, 401, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    async with scene.client("198.51.100.8") as other:
        assert (await other.post("/hooks/github", content=raw, headers=good)).status_code == 202


def test_limits_come_back_with_time_and_remember_no_more_than_a_bound() -> None:
    now = [0.0]
    limits = Limits(2.0, 3, clock=lambda: now[0])
    assert [limits.wait_seconds("192.0.2.1") for _ in range(4)] == [0, 0, 0, 1]
    now[0] = 1.0
    assert [limits.wait_seconds("192.0.2.1") for _ in range(3)] == [0, 0, 1]
    for number in range(MOST_ADDRESSES + 50):
        limits.wait_seconds(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(limits._buckets) == MOST_ADDRESSES
    limits = Limits(2.0, 1)
    assert [limits.wait_seconds(address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [0, 1, 0]


async def test_an_inbox_that_cannot_be_written_is_503_and_what_was_not_acknowledged_is_not_there(
    scene: Scene, tmp_path: Path
) -> None:
    with create_engine(f"sqlite:///{tmp_path}/inbox.db").begin() as connection:
        connection.execute(text("ALTER TABLE deliveries RENAME TO away"))
    answer = await scene.github(push())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "sqlite" not in answer.text.lower()
    with create_engine(f"sqlite:///{tmp_path}/inbox.db").begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO deliveries"))
    assert arrivals(scene.inbox) == []
    assert (await scene.github(push())).status_code == 202


async def test_a_status_url_cannot_be_guessed_and_an_unknown_one_says_nothing(scene: Scene) -> None:
    answer = await scene.github(push())
    ticket = status_path(answer).rpartition("/")[2]
    assert len(ticket) >= 32
    async with scene.client() as client:
        for wrong in ("1", "d-1", ticket[:-1], "%00", "ü"):
            assert (await client.get(f"/deliveries/{wrong}")).status_code == 404
        for path in ("/docs", "/openapi.json", "/redoc", "/", "/deliveries", "/hooks/github/"):
            assert (await client.get(path)).status_code in (404, 405)
        assert (await client.get("/hooks/github")).status_code == 405


async def test_a_body_that_does_not_come_is_not_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.webhooks.reading.BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    begun = time.monotonic()
    async with scene.client() as client:
        answer = await client.post("/hooks/github", content=slow(), headers={"content-type": "application/json"})
    assert answer.status_code == 408
    assert time.monotonic() - begun < 2
