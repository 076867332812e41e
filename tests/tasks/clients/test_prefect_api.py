"""Prefect's API as a client without Prefect asks it, over real HTTP: a server of the test's own gives the answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.clients.prefect_api import PrefectApi
from tasks.errors import Missing, NotAllowed, OpsError, PermanentError, TransientError
from tests.http_server import Answer, Request, serving

RUN = {"id": "run-1", "state": {"type": "RUNNING", "message": None}}


class Server:
    """Answers with what it was given, in order; the last answer stays."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        status, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return Answer(status, body, headers={"location": "/login"} if 300 <= status < 400 else {})


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server.answer) as address:
        server.url = f"{address}/api"
        yield server


def refused(server: Server, status: int, content: Any = b"") -> OpsError:
    server.answers = [(status, content)]
    with pytest.raises(OpsError) as raised:
        PrefectApi(server.url).create_run("d", {}, "k", ())
    return raised.value


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 505, 520, 522, 530, 599])
def test_every_status_that_may_pass_is_transient_also_those_of_a_proxy(server: Server, status: int) -> None:
    error = refused(server, status, b"<html>")
    assert isinstance(error, TransientError)
    assert str(status) in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotAllowed), (403, NotAllowed), (302, NotAllowed), (404, Missing), (409, PermanentError),
     (422, PermanentError)],
)  # fmt: skip
def test_what_a_person_must_mend_is_told_apart(server: Server, status: int, kind: type[OpsError]) -> None:
    assert type(refused(server, status, {"detail": "no such field"})) is kind


def test_an_answer_that_is_no_json_is_a_proxys_and_passes(server: Server) -> None:
    assert isinstance(refused(server, 200, b"<html>sign in</html>"), TransientError)


def test_a_server_that_is_away_is_transient_and_the_message_names_what_was_asked() -> None:
    with pytest.raises(TransientError, match=r"reading deployment deploy/app at http://127\.0\.0\.1:9/api failed"):
        PrefectApi("http://127.0.0.1:9/api").deployment("deploy/app")


def test_a_run_is_made_with_its_key_parameters_and_tags(server: Server) -> None:
    server.answers = [(201, RUN)]
    found = PrefectApi(f"{server.url}/").create_run("d-1", {"request": {"ref": "abc"}}, "key-1", ("webhook",))
    assert (found.id, found.state, found.message, found.ended) == ("run-1", "RUNNING", "", False)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/api/deployments/d-1/create_flow_run")
    wanted = {"parameters": {"request": {"ref": "abc"}}, "idempotency_key": "key-1", "tags": ["webhook"]}
    assert json.loads(asked.body) == wanted
    assert "authorization" not in asked.headers


def test_what_is_not_there_is_none_for_a_run_and_missing_for_a_deployment(server: Server) -> None:
    server.answers = [(404, {"detail": "Flow run not found"})]
    api = PrefectApi(server.url)
    assert api.run("run-1") is None
    with pytest.raises(Missing, match="prefect deploy"):
        api.deployment("deploy/app")
    server.answers = [(200, [])]
    assert api.find("key-1") is None
    assert json.loads(server.asked[-1].body)["flow_runs"] == {"idempotency_key": {"any_": ["key-1"]}}


def test_a_deployment_without_parameters_has_none(server: Server) -> None:
    server.answers = [(200, {"id": "d-1", "parameters": None})]
    assert PrefectApi(server.url).deployment("deploy/app").parameters == {}


def test_the_csrf_token_is_fetched_when_it_is_asked_for_and_anew_when_it_has_gone_by(server: Server) -> None:
    asks = (403, {"detail": "Missing CSRF token."})
    server.answers = [asks, (200, {"token": "t-1"}), (201, RUN), asks, (200, {"token": "t-2"}), (201, RUN)]
    api = PrefectApi(server.url)
    for number in (1, 2):
        api.create_run("d", {}, f"k{number}", ())
    tokens = [asked.headers.get("prefect-csrf-token") for asked in server.asked if asked.method == "POST"]
    assert tokens == [None, "t-1", "t-1", "t-2"]
    clients = {asked.headers.get("prefect-csrf-client") for asked in server.asked if asked.method == "POST"}
    (client,) = clients - {None}
    assert server.asked[1].path == f"/api/csrf-token?client={client}"


@pytest.mark.parametrize(
    ("login", "key", "header"),
    [("ops:pass", None, "Basic " + base64.b64encode(b"ops:pass").decode()), (None, "pnu_1", "Bearer pnu_1")],
)
def test_the_credential_is_in_the_header_and_in_no_message(
    server: Server, login: str | None, key: str | None, header: str
) -> None:
    server.answers = [(500, b"")]
    api = PrefectApi(server.url, SecretStr(login) if login else None, SecretStr(key) if key else None)
    with pytest.raises(TransientError) as raised:
        api.run("run-1")
    assert server.asked[0].headers["authorization"] == header
    assert (login or key) not in f"{raised.value}{raised.value.__cause__}{vars(api)}"
