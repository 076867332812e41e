"""Probes against a real HTTP server that answers well, badly, late or not at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.clients.probes import Prober


@dataclass(frozen=True)
class Rule:
    name: str = "specs"
    method: str = "GET"
    path: str = "/good"
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    body: str = '"specs":['
    timeout_seconds: float = 1.0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[tuple[float, str, str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((time.monotonic(), self.command, self.path, self.headers["User-Agent"]))
        if "slow" in self.path:
            time.sleep(0.5)
        if "broken" in self.path:
            self.close_connection = True
            return
        body = b'{"specs":[1,2]}' if "dead" not in self.path else b'{"detail":"no\n database"}'
        self.send_response(500 if "dead" in self.path else 200)
        self.send_header("x-revision", self.headers.get("x-pretend", "api-1"))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_good_answer_is_good_and_says_who_answered(server):
    result = Prober().probe(server.url + "/", Rule(), "x-revision", "api-1")
    assert result.ok
    assert (result.status, result.revision, result.of, result.why) == (200, "api-1", "api-1", "")
    assert 0 < result.latency < 1
    assert result.url == server.url + "/good"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(path="/dead"), 'status 500 instead of 200: {"detail":"no database"}'),
        (Rule(body="pyplots"), "the answer does not contain 'pyplots': {\"specs\":[1,2]}"),
        (Rule(status=204, body=""), "status 200 instead of 204"),
        (Rule(path="/broken"), "no answer: RemoteProtocolError"),
        (Rule(path="/slow", timeout_seconds=0.1), "no answer: ReadTimeout"),
        (Rule(headers={"x-pretend": "api-0"}), "api-0 answered instead of api-1"),
        (Rule(headers={"x-pretend": ""}), "a revision that did not name itself answered instead of api-1"),
    ],
    ids=lambda value: value.path if isinstance(value, Rule) else None,
)
def test_a_bad_answer_is_a_result_that_says_why(server, rule, why):
    result = Prober().probe(server.url, rule, "x-revision", "api-1")
    assert not result.ok
    assert result.why.startswith(why)


def test_a_server_that_is_not_there_is_a_bad_answer(server):
    url = server.url
    server.server_close()
    result = Prober().probe(url, Rule())
    assert not result.ok
    assert "ConnectError" in result.why


def test_the_method_and_the_headers_are_the_rules_own(server):
    assert Prober().probe(server.url, Rule(method="POST")).ok
    assert [(method, path) for _, method, path, _ in server.asked] == [("POST", "/good")]


def test_loopback_is_not_asked_through_the_environments_proxy(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Prober().probe(server.url, Rule()).ok
    assert not Prober().probe("http://service.invalid", Rule()).ok


def test_our_probes_are_known_by_their_user_agent(server):
    prober = Prober()
    prober.probe(server.url, Rule())
    assert prober.is_ours(server.asked[0][3])
    assert Prober().is_ours(server.asked[0][3])
    assert not prober.is_ours("curl/8")


async def _take(prober, pair, rules, rate, seconds, first_alone=lambda: False):
    found = []
    try:
        async with asyncio.timeout(seconds):
            async for results in prober.stream(pair, rules, "x-revision", rate, first_alone):
                found.append(results)
    except TimeoutError:
        pass
    return found


async def test_a_stream_asks_both_at_its_rate_each_rule_in_turn(server):
    rules = (Rule(), Rule(name="other", path="/other"))
    found = await _take(Prober(), ((server.url, "api-1"), (server.url, "api-2")), rules, 40, 1.0)
    newest = [results[-1] for results in found]
    assert 12 <= len(found) <= 42, "at most 40 a second; a busy machine asks less often"
    assert {(r.probe, r.of) for r in newest} == {(p, o) for p in ("specs", "other") for o in ("api-1", "api-2")}
    assert {r.of: r.ok for r in newest} == {"api-1": True, "api-2": False}


async def test_the_second_answer_to_a_question_comes_with_the_first(server):
    found = await _take(Prober(), ((server.url, "api-1"), (server.url, "api-2")), (Rule(),), 40, 1.0)
    pairs = [results for results in found if len(results) == 2]
    assert abs(len(pairs) - len(found) / 2) <= 1
    assert all({result.of for result in results} == {"api-1", "api-2"} for results in pairs)
    assert {results[0].of for results in pairs} == {"api-1", "api-2"}, "the order is random"


async def test_both_are_asked_at_the_same_instant(server):
    await _take(Prober(), ((server.url + "/a", "api-1"), (server.url + "/b", "api-2")), (Rule(),), 20, 1.5)
    asked = [(path[:2], at) for at, _, path, _ in server.asked]
    questions = [asked[number : number + 2] for number in range(0, len(asked) - 1, 2)]
    assert len(questions) >= 8
    assert all({path for path, _ in question} == {"/a", "/b"} for question in questions)
    gaps = sorted(question[1][1] - question[0][1] for question in questions)
    assert gaps[len(gaps) // 2] < 0.02


async def test_the_first_is_asked_alone_and_twice_as_often_when_that_is_wanted(server):
    pair = ((server.url, "api-1"), (server.url, "api-2"))
    found = await _take(Prober(), pair, (Rule(),), 40, 1.0, lambda: True)
    assert 12 <= len(found) <= 42, "at most 40 a second; a busy machine asks less often"
    assert {(len(results), results[0].of) for results in found} == {(1, "api-1")}


async def test_a_slow_target_does_not_slow_the_other_down(server):
    slow, quick = (server.url + "/slow", "slow"), (server.url, "quick")
    found = await _take(Prober(), (slow, quick), (Rule(),), 40, 1.0)
    assert sum(results[-1].of == "quick" for results in found) >= 12


async def test_leaving_the_loop_stops_the_asking(server):
    async with aclosing(Prober().stream(((server.url, "api-1"), (server.url, "api-2")), (Rule(),), "", 50)) as found:
        async for _ in found:
            break
    asked = len(server.asked)
    await asyncio.sleep(0.2)
    assert len(server.asked) <= asked + 1, "one may have been on its way"
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
