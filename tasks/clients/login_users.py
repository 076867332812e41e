"""The login users of a database: looked at as the application, changed as the rotator.

Safety property: a password reaches the server only as its SCRAM verifier, computed here, so that no statement and no
log of the server holds it. An error tells SQLSTATE and the server's first line, never the statement. The rotator may
change those roles alone that it has ADMIN OPTION on, and PostgreSQL itself sees to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.clients import login_users_sql as statements
from tasks.clients.discretion import discreet
from tasks.clients.google_errors import one_line
from tasks.clients.postgres import Postgres
from tasks.errors import NotAllowed, OpsError, PermanentError, TransientError
from tasks.rotation_models import Login, Session

if TYPE_CHECKING:
    from psycopg import Connection

_ATTRIBUTES = (
    "rolsuper", "rolinherit", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls", "rolconnlimit",
    "rolvaliduntil",
)  # fmt: skip
PROBE = "caretaker_rotation_probe"
#: What the server says, as XX000, where a statement whose answer was lost is still changing the same role.
_AT_ONCE = "tuple concurrently"
#: What a server may quote of a statement that sets a password: from a verifier a weak password could be guessed.
_VERIFIER = re.compile(r"SCRAM-SHA-256\$[^\s']+")


class LoginUsers(Postgres):
    """One database's login users, as one user sees them, or changes them."""

    def logins(self, names: Iterable[str], rotator: str) -> dict[str, Login]:
        """What decides what these roles may do, by name; a role that does not exist is left out."""
        named = sorted(set(names))
        traits: dict[str, set[str]] = {name: set() for name in named}
        roles = self._rows("reading the roles", statements.ROLES, names=named)
        for role in roles:
            traits[role.rolname] |= {f"{name[3:]} = {getattr(role, name)}" for name in _ATTRIBUTES}
        for row in self._rows("reading the memberships", statements.MEMBERSHIPS, names=named):
            traits[row.member].add(f"member of {row.role} (admin {row.admin}, inherit {row.inherit}, set {row.set})")
        for row in self._rows("reading the roles' settings", statements.SETTINGS, names=named):
            traits[row.rolname].add(f"setting {row.setting}" + (f" in {row.datname}" if row.datname else ""))
        for row in self._rows("reading the roles' grants", statements.GRANTS, names=named):
            traits[row.rolname].add(row.trait)
        managed = self._managed(rotator)
        return {
            role.rolname: Login(
                name=role.rolname, can_log_in=role.rolcanlogin, managed=role.rolname in managed,
                traits=frozenset(traits[role.rolname]),
            )
            for role in roles
        }

    def _managed(self, rotator: str) -> set[str]:
        rows = self._rows("reading the rotator's roles", statements.MEMBERSHIPS, names=[rotator])
        return {row.role for row in rows if row.admin}

    def sessions(self, names: Iterable[str]) -> tuple[Session, ...]:
        """The open sessions of these users, but this one."""
        rows = self._rows("looking for sessions", statements.SESSIONS, names=sorted(set(names)))
        return tuple(
            Session(pid=row.pid, user=row.usename, application=row.application, since=row.since.astimezone(UTC))
            for row in rows
        )

    @discreet
    def renew(self, user: str, password: SecretStr) -> None:
        """Give a user a new password and let it log in, in one statement. Safe to repeat."""
        from psycopg import sql

        with self._session(f"setting the password of {user}") as session:
            verifier = sql.Literal(_verifier(session, user, password))
            session.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), verifier))

    def lock(self, user: str) -> None:
        """Let a user log in no more; sessions that are open stay. Safe to repeat."""
        self._change(f"locking {user}", "ALTER ROLE {} NOLOGIN", user)

    def end_sessions(self, user: str) -> int:
        """End the sessions of a user; how many there were. Safe to repeat."""
        with self._session(f"ending the sessions of {user}") as session:
            return len(session.execute(statements.END_SESSIONS, (user,)).fetchall())

    def prove(self, owner: str, tables: Iterable[str]) -> None:
        """Do what the application does, on a new connection: read its tables, and make something as the owner.

        What is made is rolled back. Raises PermanentError where a table cannot be read, or belongs to somebody else.
        """
        self.alembic_revision()
        self.table_counts(tables)
        made = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s::regclass"
        with self._session("making a table as the application") as session, session.transaction(force_rollback=True):
            session.execute(f"CREATE TABLE {PROBE} (id integer)".encode())
            row = session.execute(made, (PROBE,)).fetchone()
        if row is None or row[0] != owner:
            raise PermanentError(
                f"proving the login {self.where} failed: what it makes belongs to {row[0] if row else 'nobody'} and "
                f"not to {owner}; see its setting 'role'"
            )

    def prepare(self, owner: str, users: Iterable[str]) -> None:
        """Make, as the rotator, an owner that cannot log in and login users that act as it. Safe to repeat.

        Made by the rotator they are its to change: PostgreSQL gives the maker ADMIN OPTION. They cannot log in before a
        rotation gives them a password.
        """
        for role in (owner, *users):
            if not self._rows("looking for the role", "SELECT 1 FROM pg_roles WHERE rolname = :name", name=role):
                self._change(f"making {role}", "CREATE ROLE {} NOLOGIN", role)
        for user in users:
            self.join(owner, user)
            self._change(f"letting {user} act as {owner}", "ALTER ROLE {} SET role = {}", user, owner)

    def join(self, owner: str, user: str) -> None:
        """Make a user a member of the owner, with all that the owner may do. Safe to repeat."""
        self._change(f"making {user} a member of {owner}", "GRANT {} TO {}", owner, user)

    def own_database(self, owner: str) -> None:
        """Let the owner own this database, where it does not yet; as the rotator. Safe to repeat."""
        question = (
            "SELECT datname, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = current_database()"
        )
        found = self._rows("reading the database's owner", question)[0]
        if found.owner != owner:
            self._change(f"becoming {owner}", "GRANT {} TO CURRENT_USER", owner)
            self._change(f"giving {found.datname} to {owner}", "ALTER DATABASE {} OWNER TO {}", found.datname, owner)

    def give_away(self, owner: str) -> None:
        """Let the owner, of which this very user must be a member, own what it owns. Locks each table for a moment."""
        self._change(f"giving all to {owner}", "REASSIGN OWNED BY CURRENT_USER TO {}", owner)

    def _change(self, what: str, statement: str, *names: str) -> None:
        from psycopg import sql

        with self._session(what) as session:
            session.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @contextmanager
    def _session(self, what: str) -> Iterator[Connection[Any]]:
        """A session of the driver's own, which commits each statement; its errors never quote one."""
        import psycopg

        from tasks.clients.database_errors import translated

        with translated(what, self.where), self._engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.autocommit = True
            try:
                yield raw
            except psycopg.Error as error:
                raise _of_driver(error, what, self.where) from None


def _verifier(session: Connection[Any], user: str, password: SecretStr) -> str:
    """What the server keeps of a password (SCRAM-SHA-256), computed here, as ``psql``'s \\password does."""
    clear = password.get_secret_value().encode()
    return session.pgconn.encrypt_password(clear, user.encode(), b"scram-sha-256").decode()


def _of_driver(error: Any, what: str, where: str) -> OpsError:
    """Our error, without the statement and without what the server quotes of it."""
    state = error.sqlstate or ""
    said = _VERIFIER.sub("SCRAM-SHA-256$…", one_line(error.diag.message_primary or type(error).__name__))
    passing = state[:2] in ("08", "40", "53") or state in ("55P03", "57014", "57P01", "57P02", "57P03")
    if not state or passing or _AT_ONCE in said:
        return TransientError(f"{what} on {where} failed: {state} {said}; retrying may clear this")
    kind = NotAllowed if state == "42501" else PermanentError
    return kind(f"{what} on {where} failed: {state} {said}; see docs/runbooks/rotate_secrets.md")
