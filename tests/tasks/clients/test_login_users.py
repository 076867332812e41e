"""A new password on its way to a real PostgreSQL, with faults planted inside the very statement that sets it."""

from __future__ import annotations

import secrets
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from tasks.analysis.rotation_refusals import differences
from tasks.clients.login_users import LoginUsers
from tasks.errors import PermanentError, TransientError
from tests.told import told

#: What the proxy does with the message that sets a password: it gets the message, the client and the server.
Fault = Callable[[bytes, socket.socket, socket.socket], None]


class Proxy:
    """Stands between a client and PostgreSQL's socket, and meets the statement that sets a password with a fault."""

    def __init__(self, folder: Path, server: str, fault: Fault) -> None:
        self._server, self._fault, self.met = server, fault, 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._answers, args=(client, server), daemon=True).start()
                threading.Thread(target=self._questions, args=(client, server), daemon=True).start()

    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if b"ALTER ROLE" in data and b"PASSWORD" in data:
                    self.met += 1
                    self._fault(data, client, server)
                else:
                    server.sendall(data)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)


def breaks(data: bytes, client: socket.socket, server: socket.socket) -> None:
    """The statement arrives, and its answer is lost."""
    server.sendall(data)
    client.shutdown(socket.SHUT_RDWR)


def quotes(data: bytes, client: socket.socket, _: socket.socket) -> None:
    """The server answers with an error that quotes the statement wherever an error can."""
    statement = data[data.index(b"ALTER") :].split(b"\0")[0]
    fields = b"".join(kind + statement + b"\0" for kind in (b"M", b"D", b"H", b"W", b"q"))
    body = b"SERROR\0VERROR\0CXX000\0" + fields + b"\0"
    client.sendall(b"E" + struct.pack("!i", len(body) + 4) + body + b"Z" + struct.pack("!i", 5) + b"I")


@contextmanager
def through(database: str, fault: Fault) -> Iterator[tuple[LoginUsers, Proxy]]:
    """The login users behind a proxy."""
    url = make_url(database)
    server = Path(str(url.query["host"])) / ".s.PGSQL.5432"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pq-", dir="/tmp"))
        proxy = stack.enter_context(closing(Proxy(Path(folder), str(server), fault)))
        there = url.set(query={"host": folder}).render_as_string(hide_password=False)
        yield LoginUsers(SecretStr(there)), proxy


@pytest.fixture
def role(database: str) -> str:
    name = f"r_{secrets.token_hex(4)}"
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as link:
        link.execute(f"CREATE ROLE {name} NOLOGIN")
    return name


@pytest.mark.parametrize(("fault", "kind"), [(breaks, TransientError), (quotes, PermanentError)])
def test_a_fault_inside_the_statement_that_sets_a_password_tells_neither_it_nor_its_verifier(
    fault: Fault, kind: type[Exception], database: str, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="")
    password = SecretStr("p-" + secrets.token_urlsafe(24))
    with through(database, fault) as (users, proxy), pytest.raises(kind, match=f"setting the password of {role}") as it:
        users.renew(role, password)
    said = told(it.value) + caplog.text
    assert proxy.met == 1
    for secret in (password.get_secret_value(), "SCRAM-SHA-256$4096"):
        assert secret not in said


def test_after_a_lost_answer_the_step_is_repeated_with_another_password_which_works(database: str, role: str) -> None:
    first, second = (SecretStr("p-" + secrets.token_urlsafe(24)) for _ in range(2))
    with through(database, breaks) as (users, _), pytest.raises(TransientError):
        users.renew(role, first)
    LoginUsers(SecretStr(database)).renew(role, second)
    question = "SELECT rolpassword, rolcanlogin FROM pg_authid WHERE rolname = %s"
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as link:
        verifier, can_log_in = link.execute(question, (role,)).fetchone() or ("", False)
    assert verifier.startswith("SCRAM-SHA-256$4096:")
    assert can_log_in


def test_the_planted_errors_would_tell_what_a_careless_client_tells(database: str, role: str) -> None:
    """The fault is a real one: whoever shows the driver's own error shows the statement."""
    with through(database, quotes) as (users, _), users._engine.connect() as link:
        raw: Any = link.connection.driver_connection
        with pytest.raises(psycopg.Error) as it:
            raw.execute(f"ALTER ROLE {role} PASSWORD 'SCRAM-SHA-256$4096:told'")
    assert "SCRAM-SHA-256$4096:told" in str(it.value)


@pytest.mark.parametrize(
    ("statement", "trait"),
    [
        ("ALTER ROLE {} SET search_path = elsewhere", "setting search_path=elsewhere"),
        ("ALTER ROLE {} CONNECTION LIMIT 3", "connlimit = 3"),
        ("ALTER ROLE {} CREATEROLE", "createrole = True"),
        ("GRANT pg_monitor TO {} WITH ADMIN OPTION", "member of pg_monitor (admin True"),
        ("GRANT INSERT ON things TO {} WITH GRANT OPTION", "INSERT on relation things with grant option"),
        ("GRANT SELECT (a) ON things TO {}", "SELECT on column things.a"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}", "SELECT on new objects of"),
        ("ALTER TABLE things OWNER TO {}", "owner of relation things"),
        ("CREATE POLICY own ON things TO {} USING (true)", "policy own of relation things"),
    ],
)
def test_whatever_decides_what_a_login_may_do_is_seen_as_a_difference(
    statement: str, trait: str, database: str, role: str
) -> None:
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as link:
        link.execute("CREATE TABLE things (a integer)")
        link.execute(f"CREATE ROLE {role}_b NOLOGIN")
        users = LoginUsers(SecretStr(database))
        before = users.logins((role, f"{role}_b"), "rotator")
        assert tuple(differences(before[role], before[f"{role}_b"])) == ()
        link.execute(statement.format(role))
    after = users.logins((role, f"{role}_b"), "rotator")
    assert trait in "; ".join(differences(after[role], after[f"{role}_b"]))
