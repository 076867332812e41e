"""The SQL that makes a plain PostgreSQL cluster one of Cloud SQL: its roles and databases.

Safety property: no user of an instance is a superuser, and a password reaches the server only as its SCRAM verifier, so
that it cannot be in a log. All of it may be run again. Source of the attributes:
https://cloud.google.com/sql/docs/postgres/users
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, pq, sql

#: The superuser, which belongs to Google; its database is where the local cloud connects.
ADMIN = "cloudsqladmin"
#: Whose members all users made through the API are; owner of the databases made through the API.
GROUP = "cloudsqlsuperuser"
BASIC_USER = "postgres"
_GRANTED_TO_GROUP = ("pg_monitor", "pg_signal_backend")


def verifier(user: str, password: str) -> str:
    """What the server keeps of a password (SCRAM-SHA-256), computed here as ``psql``'s \\password does."""
    unconnected = pq.PGconn.connect_start(b"host=/nowhere")
    return unconnected.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()


def bootstrap(connection: Connection[Any], postgres_verifier: str | None) -> None:
    """Make the group, the user ``postgres`` and the owners of the first databases."""
    if not role_exists(connection, GROUP):
        connection.execute(_identified("CREATE ROLE {} CREATEROLE CREATEDB", GROUP))
    for role in _GRANTED_TO_GROUP:
        connection.execute(_identified("GRANT {} TO {} WITH ADMIN OPTION", role, GROUP))
    put_user(connection, BASIC_USER, postgres_verifier, [])
    for database in ("postgres", "template1"):
        connection.execute(_identified("ALTER DATABASE {} OWNER TO {}", database, GROUP))
    if not database_exists(connection, ADMIN):
        connection.execute(_identified("CREATE DATABASE {}", ADMIN))
    connection.execute(_identified("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", ADMIN))


def role_exists(connection: Connection[Any], name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None


def put_user(connection: Connection[Any], name: str, secret: str | None, member_of: Sequence[str]) -> None:
    """Create a login role, or set the password of the one there is. Roles named replace the membership in the group."""
    if not role_exists(connection, name):
        connection.execute(_identified("CREATE ROLE {} LOGIN CREATEROLE CREATEDB", name))
        for role in member_of or [GROUP]:
            connection.execute(_identified("GRANT {} TO {}", role, name))
    if secret:
        set_password(connection, name, secret)


def set_password(connection: Connection[Any], name: str, secret: str) -> None:
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(secret))
    connection.execute(statement)


def set_membership(connection: Connection[Any], name: str, roles: Sequence[str], *, exactly: bool) -> None:
    """Grant roles to a user; with ``exactly`` also revoke all others."""
    for role in roles:
        connection.execute(_identified("GRANT {} TO {}", role, name))
    for role in set(memberships(connection, name)) - set(roles) if exactly else ():
        connection.execute(_identified("REVOKE {} FROM {}", role, name))


def memberships(connection: Connection[Any], name: str) -> list[str]:
    rows = connection.execute(
        "SELECT pg_get_userbyid(roleid) FROM pg_auth_members JOIN pg_roles r ON r.oid = member"
        " WHERE r.rolname = %s ORDER BY 1", (name,)
    )  # fmt: skip
    return [row[0] for row in rows]


def users(connection: Connection[Any]) -> list[str]:
    """The roles that can log in, without Google's own."""
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> %s ORDER BY 1", (ADMIN,))
    return [row[0] for row in rows]


def drop_user(connection: Connection[Any], name: str) -> None:
    connection.execute(_identified("DROP ROLE {}", name))


def database_exists(connection: Connection[Any], name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def databases(connection: Connection[Any]) -> list[tuple[str, str, str]]:
    """(name, encoding, collation) of each database that is not Google's own."""
    rows = connection.execute(
        "SELECT datname, pg_encoding_to_char(encoding), coalesce(datlocale, datcollate) FROM pg_database"
        " WHERE NOT datistemplate AND datname <> %s ORDER BY 1", (ADMIN,)
    )  # fmt: skip
    return [(row[0], row[1], row[2]) for row in rows]


def create_database(connection: Connection[Any], name: str) -> None:
    connection.execute(_identified("CREATE DATABASE {} OWNER {}", name, GROUP))


def drop_database(connection: Connection[Any], name: str) -> None:
    connection.execute(_identified("DROP DATABASE {}", name))


def _identified(statement: str, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))
