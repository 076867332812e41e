from __future__ import annotations

import socket

from embedded.ports import EPHEMERAL_FROM, free_port, is_free


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
    assert all(free_port() < EPHEMERAL_FROM for _ in range(50))


def test_a_port_is_free_again_though_old_connections_linger():
    port = free_port()
    with listener(port) as server, socket.create_connection(("127.0.0.1", port)):
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: its end stays in TIME_WAIT
    assert is_free(port)
