"""Free ports: below the kernel's own, the same again, and never the same for two that choose at the same time."""

from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

import pytest

from embedded import ports
from embedded.ports import free_port, is_free, port_range


def listener(port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def test_the_preferred_port_is_given_while_it_is_free():
    preferred = free_port()
    assert free_port(preferred) == preferred


def test_another_port_is_given_when_the_preferred_one_is_taken():
    preferred = free_port()
    with listener(preferred):
        assert not is_free(preferred)
        other = free_port(preferred)
        assert other != preferred
        assert is_free(other)


def test_ports_are_below_those_that_the_kernel_gives_away():
    assert all(free_port() in port_range() for _ in range(50))


def test_a_port_is_free_again_though_old_connections_linger():
    port = free_port()
    with listener(port) as server, socket.create_connection(("127.0.0.1", port)):
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: its end stays in TIME_WAIT
    assert is_free(port)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("32768\t60999", range(20_768, 32_768)),
        ("9000 65535", range(1_024, 9_000)),
        ("1024 65535", range(20_768, 32_768)),
    ],
)
def test_the_range_ends_where_the_kernels_own_begins(
    told: str, expected: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(told)
    monkeypatch.setattr(ports, "EPHEMERAL_RANGE", tmp_path / "range")
    assert port_range() == expected


def choose(narrow: range, count: int, answers: multiprocessing.Queue[list[int]], over: multiprocessing.Event) -> None:
    ports.port_range = lambda: narrow
    answers.put([free_port() for _ in range(count)])
    over.wait(30)


def test_processes_that_choose_at_the_same_time_get_ports_of_their_own() -> None:
    """Four processes take 20 of 100 ports each, and none listens: without reservations they would collide for sure."""
    spawn = multiprocessing.get_context("spawn")
    narrow, answers, over = port_range()[-100:], spawn.Queue(), spawn.Event()
    choosers = [spawn.Process(target=choose, args=(narrow, 20, answers, over)) for _ in range(4)]
    for chooser in choosers:
        chooser.start()
    chosen = [port for _ in choosers for port in answers.get(timeout=30)]
    over.set()
    for chooser in choosers:
        chooser.join(30)
    assert len(chosen) == len(set(chosen)) == 80
    assert free_port(chosen[0]) == chosen[0], "what a process reserved is free when it has ended"


def test_a_process_that_chooses_many_ports_lets_go_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = port_range()[:300]
    monkeypatch.setattr(ports, "port_range", lambda: narrow)
    assert {free_port() for _ in range(600)} <= set(narrow)
