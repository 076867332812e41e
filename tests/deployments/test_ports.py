"""The ports of a stack: the well-known one when free, and the same at the next start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deployments.stack.folder import Folder
from deployments.stack.ports import choose_ports
from embedded.ports import free_port, port_range
from tasks.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "state")
    made.prepare()
    return made


def test_the_ports_of_the_last_start_are_taken_again(folder: Folder) -> None:
    first = choose_ports(folder, free_port())
    folder.change(ports=first)
    assert choose_ports(folder, None) == first
    assert first["status"] in port_range(), "the others may have their well-known ones"
    assert len(set(first.values())) == 3


def test_a_remembered_port_that_somebody_else_took_is_left_to_them(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder.change(ports={"prefect": taken.getsockname()[1]})
        assert choose_ports(folder, None)["prefect"] != taken.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_in_use_is_refused(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} failed: the port is in use; name another with --ui-port"):
            choose_ports(folder, port)
