"""Every printable character in a password comes back as it was, whoever reads the connection string."""

from __future__ import annotations

import string

import psycopg
import pytest
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import make_url

from tasks.clients.login_url import password_of, user_of, with_login
from tasks.errors import BadInput

PRINTABLE = string.digits + string.ascii_letters + string.punctuation + " "
BASES = (
    "postgresql+psycopg:///pyplots?host=/cloudsql/p:r:i",
    "postgresql+psycopg://old:o%2Fl%40d@/pyplots?host=/cloudsql/p:r:i&sslmode=disable",
    "postgresql+psycopg://old:pass/word@db.example:5433/pyplots",
    "postgresql://old@db.example/pyplots?application_name=a%20b",
)


@given(st.text(PRINTABLE, min_size=1, max_size=60), st.sampled_from(BASES))
def test_a_password_of_any_printable_characters_comes_back_alike_from_every_reader(password: str, base: str) -> None:
    url = with_login(SecretStr(base), "pyplots_b", SecretStr(password)).get_secret_value()
    before, parsed = make_url(base), make_url(url)
    assert (parsed.username, parsed.password) == ("pyplots_b", password)
    assert (parsed.host, parsed.port, parsed.database, parsed.query) == (
        before.host, before.port, before.database, before.query
    )  # fmt: skip
    conninfo = psycopg.conninfo.conninfo_to_dict(url.replace("postgresql+psycopg", "postgresql"))
    assert (conninfo["user"], conninfo["password"], conninfo["dbname"]) == ("pyplots_b", password, "pyplots")
    config = Config()
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    assert config.get_main_option("sqlalchemy.url") == url
    assert password_of(SecretStr(url)) == SecretStr(password)
    assert user_of(SecretStr(url)) == "pyplots_b"


def test_every_printable_character_at_once_comes_back() -> None:
    url = with_login(SecretStr(BASES[1]), "b", SecretStr(PRINTABLE))
    assert password_of(url) == SecretStr(PRINTABLE)


def test_what_is_no_connection_string_is_refused_without_being_shown() -> None:
    with pytest.raises(BadInput) as caught:
        with_login(SecretStr("host=db password=hunter2"), "b", SecretStr("new-password"))
    assert "hunter2" not in str(caught.value)
    assert "new-password" not in str(caught.value)
