"""The connection string of a restored copy, made from production's.

Safety property: a string that does not name production's socket, or whose options would lead elsewhere than its host
does, is refused: it would lead to production itself. Driver and other options stay as the application wrote them.
"""

from __future__ import annotations

from pydantic import SecretStr

from tasks.errors import BadInput
from tasks.estate import Database

#: Options that say where a connection leads, or who it is, in the place of host and user.
#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_LEADING = frozenset({"hostaddr", "service", "servicefile", "dbname", "database", "user", "password", "passfile"})


def login_user(secret: SecretStr, database: Database) -> str:
    """The user as whom the application logs in. Raises BadInput where the string names none."""
    from tasks.clients import engines

    user = engines.parse(secret, f"database {database.name}").username
    if not user:
        raise _refusal(database)
    return user


def url_of_copy(
    secret: SecretStr, database: Database, production: str, copy: str, user: str, password: SecretStr
) -> SecretStr:
    """The same string for a copy; ``production`` and ``copy`` are connection names, ``PROJECT:REGION:INSTANCE``."""
    from sqlalchemy import make_url

    from tasks.clients import engines

    engines.parse(secret, f"database {database.name}")
    url = make_url(secret.get_secret_value().strip())
    host = url.query.get("host", "")
    if not isinstance(host, str) or production not in host or url.host or not _LEADING.isdisjoint(url.query):
        raise _refusal(database)
    query = {**url.query, "host": host.replace(production, copy)}
    made = url.set(username=user, password=password.get_secret_value(), query=query)
    return SecretStr(made.render_as_string(hide_password=False))


def _refusal(database: Database) -> BadInput:
    leading = ", ".join(sorted(_LEADING))
    return BadInput(
        f"opening a copy of {database.name} failed: the connection string in {database.url_secret} names no user, "
        f"not the socket of {database.instance}, or options that lead elsewhere ({leading}); it must "
        "look like postgresql+psycopg://user:password@/database?host=/cloudsql/PROJECT:REGION:INSTANCE"
    )
