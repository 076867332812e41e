"""Connection strings with another login in them.

Safety property: nothing but user and password changes, whatever else the string holds, and any character may be in a
password: both are percent-encoded, which SQLAlchemy, libpq and alembic read back alike.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from pydantic import SecretStr

from tasks.clients.discretion import discreet
from tasks.clients.engines import parse
from tasks.errors import BadInput

#: The scheme, and the login as SQLAlchemy reads it: a user without ``:`` and ``/``, a password without ``@``.
_LOGIN = re.compile(r"^(\s*[\w+.-]+://)(?:[^:/@]*(?::[^@]*)?@)?")


def user_of(url: SecretStr) -> str:
    """The user of a connection string; empty where it has none."""
    return parse(url, "the application").username or ""


def password_of(url: SecretStr) -> SecretStr | None:
    """The password in a connection string, as it is given to the server; None where it holds none."""
    found = parse(url, "the application").password
    return None if found is None else SecretStr(str(found))


@discreet
def with_login(url: SecretStr, user: str, password: SecretStr) -> SecretStr:
    """The same connection string for another login."""
    login = f"{quote(user, safe='')}:{quote(password.get_secret_value(), safe='')}@"
    text, replaced = _LOGIN.subn(lambda found: found.group(1) + login, url.get_secret_value())
    made = SecretStr(text)
    before, after = parse(url, "the application"), parse(made, "the application")
    same = (before.host, before.port, before.database, before.query) == (
        after.host, after.port, after.database, after.query
    )  # fmt: skip
    if replaced != 1 or not same or (after.username, str(after.password)) != (user, password.get_secret_value()):
        raise BadInput(
            f"composing the connection string of {user} failed: the present one is written in a way that is not "
            "understood; it must look like postgresql+psycopg://user:password@/database?host=/cloudsql/…"
        )
    return made
