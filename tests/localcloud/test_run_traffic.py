"""Traffic: who answers at which URL, and that moving it fails no request."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import psutil
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from tests.conftest import LocalCloud
from tests.load import Load
from tests.localcloud.runs import REVISION, Runs, done, eventually, latest, server_image, text, to


@pytest.fixture
def runs(local_cloud: LocalCloud, project: str, channel: grpc.Channel) -> Runs:
    return Runs(project, channel, server_image(local_cloud.state))


@pytest.fixture
def two(runs: Runs) -> Runs:
    """A service whose revision api-one has all the traffic and whose newest is api-two."""
    runs.create(template=runs.template("api-one", floor=1))
    runs.route(to("api-one"))
    runs.deploy(runs.template("api-two", floor=1, env={"A": "2"}))
    return runs


def answers(url: str, count: int) -> Counter[str]:
    with httpx.Client(timeout=30) as client:
        return Counter(client.get(url).text for _ in range(count))


def test_a_tag_has_a_url_of_its_own_before_its_revision_has_traffic(two: Runs) -> None:
    service = two.route(to("api-one"), to("api-two", 0, "candidate"))
    status = next(s for s in service.traffic_statuses if s.tag)
    assert (status.revision, status.percent, status.type_) == ("api-two", 0, REVISION)
    assert status.uri != service.uri
    assert text(status.uri) == "api-two"
    assert answers(service.uri, 20) == {"api-one": 20}
    again = two.route(to("api-one", 50), to("api-two", 50, "candidate"))
    assert next(s.uri for s in again.traffic_statuses if s.tag) == status.uri


def test_a_tag_that_is_taken_away_answers_no_more(two: Runs) -> None:
    service = two.route(to("api-one"), to("api-two", 0, "candidate"))
    url = next(s.uri for s in service.traffic_statuses if s.tag)
    assert text(url) == "api-two"
    two.route(to("api-one"))
    with pytest.raises(httpx.TransportError):
        text(url)


def test_traffic_is_split_by_percent(two: Runs) -> None:
    service = two.route(to("api-one", 90), to("api-two", 10))
    assert [(s.revision, s.percent) for s in service.traffic_statuses] == [("api-one", 90), ("api-two", 10)]
    seen = answers(service.uri, 600)
    assert 20 <= seen["api-two"] <= 120, seen  # 60 expected; 5.4 standard deviations to either side
    assert seen.total() == 600


def test_a_later_deployment_keeps_the_split(two: Runs) -> None:
    two.route(to("api-one", 90), to("api-two", 10))
    service = two.deploy(two.template("api-three", env={"A": "3"}))
    assert [(s.revision, s.percent) for s in service.traffic_statuses] == [("api-one", 90), ("api-two", 10)]
    assert "api-three" not in answers(service.uri, 50)
    assert service.latest_ready_revision.endswith("/api-three")


def test_the_latest_revision_gets_the_traffic_once_it_is_ready(runs: Runs) -> None:
    service = runs.create(template=runs.template("api-one"), traffic=[latest(100, "newest")])
    url = service.traffic_statuses[0].uri
    runs.deploy(runs.template("api-two", env={"A": "2"}))
    assert text(service.uri) == text(url) == "api-two"


def test_a_list_that_cannot_be_right_is_refused(two: Runs) -> None:
    before = two.get()
    for targets, message in [
        ([to("api-one", 60), to("api-two", 30)], "sum to 90, want 100"),
        ([to("api-one", 50, "a"), to("api-two", 50, "a")], "Multiple definitions for tag 'a'"),
        ([to("api-one", 100, "Upper")], "DNS label"),
        ([run_v2.TrafficTarget(percent=100)], "type must be set"),
        ([to("", 100)], "revision must be set"),
        ([to("api-one", 120), to("api-two", -20)], "between 0 and 100"),
    ]:
        with pytest.raises(exceptions.InvalidArgument, match=message):
            two.route(*targets)
    assert two.get() == before


def test_a_revision_that_does_not_exist_gets_no_traffic_and_the_old_split_stays(two: Runs) -> None:
    with pytest.raises(exceptions.FailedPrecondition, match="Revision 'api-no' does not exist or is deleted"):
        two.route(to("api-no"))
    service = two.get()
    assert [(s.revision, s.percent) for s in service.traffic_statuses] == [("api-one", 100)]
    assert service.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    assert answers(service.uri, 5) == {"api-one": 5}


def test_no_request_fails_while_traffic_moves(two: Runs) -> None:
    with Load(two.get().uri, rate=100, path="/") as load:
        for percent in (10, 50, 100, 0, 30, 100, 90, 0, 100, 0):
            two.route(*[to(name, share) for name, share in (("api-one", 100 - percent), ("api-two", percent)) if share])
            time.sleep(0.15)
        time.sleep(0.2)
    assert not load.failures
    assert len(load.answers) > 50
    assert {answer.revision for answer in load.answers} >= {"api-one", "api-two"}


def test_a_request_in_flight_is_answered_by_the_revision_that_took_it(two: Runs) -> None:
    url = two.get().uri
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(text, url, "/?seconds=1.5")
        time.sleep(0.3)
        two.route(to("api-two"))
        assert text(url) == "api-two"
        assert slow.result() == "api-one"


def test_a_revision_without_instances_starts_one_for_a_request_and_stops_it_when_idle(runs: Runs) -> None:
    template = runs.template("api-one", annotations={"localcloud/idle-seconds": "0.3"})
    service = runs.create(template=template)
    pid = _pid(service.uri)
    eventually(lambda: not _runs(pid))
    assert text(service.uri) == "api-one"


def test_an_instance_that_dies_is_replaced(runs: Runs) -> None:
    service = runs.create(template=runs.template("api-one", floor=1))
    assert httpx.get(service.uri + "/exit").status_code == 503
    eventually(lambda: httpx.get(service.uri).status_code == 200)


def test_more_requests_at_once_bring_more_instances_up_to_the_maximum(runs: Runs) -> None:
    impatient = {"localcloud/pending-seconds": "0.5"}
    service = runs.create(template=runs.template("api-one", most=2, concurrency=1, annotations=impatient))
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(httpx.get, service.uri + "/env?seconds=0.4", timeout=30) for _ in range(3)]
        ports = {answer.result().json()["PORT"] for answer in slow}
    assert len(ports) == 2
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            pool.submit(httpx.get, service.uri + "/?seconds=2", timeout=30)
        time.sleep(0.3)
        assert httpx.get(service.uri, timeout=30).status_code == 429


def test_instances_that_a_storm_brought_go_again_although_none_of_them_is_idle(runs: Runs) -> None:
    hasty = {"localcloud/idle-seconds": "4"}
    service = runs.create(template=runs.template("api-one", most=3, concurrency=4, annotations=hasty))
    with ThreadPoolExecutor(12) as pool:
        storm = [pool.submit(httpx.get, service.uri + "/env?seconds=1", timeout=30) for _ in range(12)]
        brought = {answer.result().json()["PORT"] for answer in storm}
    assert len(brought) == 3
    with ThreadPoolExecutor(2) as pool:

        def serving() -> set[str]:
            both = [pool.submit(httpx.get, service.uri + "/env?seconds=0.5", timeout=30) for _ in range(2)]
            return {answer.result().json()["PORT"] for answer in both}

        assert len(serving()) == 2
        eventually(lambda: len(serving()) == 1)


def test_a_request_that_takes_too_long_is_cut_off(runs: Runs) -> None:
    service = runs.create(template=runs.template("api-one", timeout=1))
    assert httpx.get(service.uri + "/?seconds=3").status_code == 504
    assert httpx.get(service.uri).status_code == 200


def test_the_proxy_hands_on_what_was_sent(runs: Runs) -> None:
    service = runs.create()
    sent = httpx.post(service.uri + "/echo?a=%2F&b=c%20d", content=b"\0\1" * 200_000)
    assert sent.content == b"\0\1" * 200_000
    assert len(httpx.get(service.uri + "/big").content) == 5_000_000
    seen = httpx.get(service.uri + "/headers", headers={"X-Mine": "1", "Connection": "x-hop", "X-Hop": "1"}).json()
    assert seen["X-Mine"] == "1"
    assert "X-Hop" not in seen
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["Host"] == service.uri.removeprefix("http://")
    assert len(seen["X-Cloud-Trace-Context"].partition("/")[0]) == 32
    head = httpx.head(service.uri + "/big")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "5000000", b"")
    chunks = httpx.post(service.uri + "/echo", content=iter([b"a", b"b"]), headers={"Content-Length": "2"})
    assert chunks.text == "ab"


def test_a_client_that_asks_for_a_go_ahead_gets_it(runs: Runs) -> None:
    port = int(runs.create().uri.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(b"hi")
        assert b"hi" in raw.recv(10_000)


def test_traffic_moves_among_ready_revisions_while_another_one_starts(two: Runs) -> None:
    template = two.template("api-slow", env={"START_SECONDS": "2"})
    operation = two.services.update_service(service=run_v2.Service(name=two.name(), template=template,
                                                                   traffic=[to("api-one")]))  # fmt: skip
    asked = run_v2.Service(name=two.name(), traffic=[to("api-two")])
    moved = two.services.update_service({"service": asked, "update_mask": {"paths": ["traffic"]}})
    url = two.get().uri
    eventually(lambda: text(url) == "api-two", 1.5)
    assert not operation.done()
    assert done(operation).latest_ready_revision == f"{two.name()}/revisions/api-slow"
    assert not done(moved).reconciling
    assert text(url) == "api-two"


def test_a_deployment_goes_on_after_the_local_cloud_was_stopped(own_local_cloud: LocalCloud, project: str) -> None:
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, server_image(own_local_cloud.state))
        url = runs.create(template=runs.template("api-one", floor=1)).uri
        left = _pid(url)
        template = runs.template("api-two", env={"START_SECONDS": "2"})
        operation = runs.services.update_service(service=run_v2.Service(name=runs.name(), template=template))
        assert not operation.done()
    own_local_cloud.restart(kill=False)
    assert not _runs(left)
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, "")
        eventually(lambda: runs.services.get_operation({"name": operation.operation.name}).done, 20)
        assert text(url) == "api-two"


def test_services_come_back_at_their_urls_after_the_local_cloud_was_killed(
    own_local_cloud: LocalCloud, project: str
) -> None:
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, server_image(own_local_cloud.state))
        runs.create(template=runs.template("api-one", floor=1))
        runs.route(to("api-one"))
        runs.deploy(runs.template("api-two", env={"A": "2"}))
        service = runs.route(to("api-one"), to("api-two", 0, "candidate"))
    tagged = next(s.uri for s in service.traffic_statuses if s.tag)
    left = [_pid(service.uri), _pid(tagged)]
    own_local_cloud.restart(kill=True)
    assert text(service.uri) == "api-one"
    assert text(tagged) == "api-two"
    assert not any(_runs(pid) for pid in left)
    with grpc.insecure_channel(own_local_cloud.grpc) as reopened:
        assert Runs(project, reopened, "").get() == service


def test_a_deployment_that_was_cut_short_by_a_kill_is_finished_by_the_next_start(
    own_local_cloud: LocalCloud, project: str
) -> None:
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, server_image(own_local_cloud.state))
        url = runs.create(template=runs.template("api-one")).uri
        asked = run_v2.Service(
            name=runs.name(), template=runs.template("api-two", env={"START_SECONDS": "1"}), traffic=[latest()]
        )
        operation = runs.services.update_service(service=asked).operation.name
    own_local_cloud.restart(kill=True)
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, "")
        eventually(lambda: runs.services.get_operation({"name": operation}).done, 20)
        assert runs.get().terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
        assert text(url) == "api-two"


def _pid(url: str) -> int:
    """The process behind a URL: the one that listens on the port that it was given."""
    port = int(json.loads(text(url, "/env"))["PORT"])
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    return next(connection.pid for connection in listening if connection.pid)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

