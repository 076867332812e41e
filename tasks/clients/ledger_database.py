"""What the ledger and its inbox share: one database, PostgreSQL or SQLite in a file, and how it is named in messages.

Safety property: the connection string is kept as a secret, and no message quotes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import SecretStr

if TYPE_CHECKING:
    from sqlalchemy import URL


class LedgerDatabase:
    """One ledger database."""

    def __init__(self, url: SecretStr | str) -> None:
        self._secret = url if isinstance(url, SecretStr) else SecretStr(url)

    @cached_property
    def _url(self) -> URL:
        from tasks.clients import engines

        return engines.parse(self._secret, "the ledger")

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def _where(self) -> str:
        return str(self._url.database) if self._is_sqlite else f"{self._url.username}@{self._url.database}"


def utc(value: datetime) -> datetime:
    """SQLite gives naive times back; all of ours are UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
