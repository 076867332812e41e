"""The rotator: the user that may change a database's login users.

Safety property: its password is made for one use, set through the Admin API, and known to that use alone; so the right
to rotate is the IAM role, and nothing has to be kept.
"""

from __future__ import annotations

import secrets as random

from pydantic import SecretStr

from tasks.clients.cloud_sql import CloudSql
from tasks.clients.login_url import with_login
from tasks.clients.login_users import LoginUsers
from tasks.estate import Database

#: Bytes of randomness in a password or token: 256 bits, in characters that need no quoting anywhere.
RANDOM_BYTES = 32


def random_value() -> SecretStr:
    """A new password or token."""
    return SecretStr(random.token_urlsafe(RANDOM_BYTES))


def as_rotator(sql: CloudSql, database: Database, url: SecretStr, make: bool = False) -> LoginUsers:
    """The database's login users as the rotator sees them; ``make``: the rotator is made where it is missing.

    ``url`` says where the database is; whose login it holds does not matter.
    """
    name, password = database.rotator, random_value()
    missing = make and name not in sql.users(database.instance)
    (sql.create_user if missing else sql.set_password)(database.instance, name, password)
    return LoginUsers(with_login(url, name, password), "caretaker rotation")
