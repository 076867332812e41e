"""The connection string of a copy leads to the copy, or nowhere."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from tasks.clients.copy_url import login_user, url_of_copy
from tasks.errors import BadInput
from tasks.estate import Database

DATABASE = Database.model_validate(
    {"name": "d", "instance": "db", "database": "d", "owner": "o", "users": ("u",), "url_secret": "url"}
)
PRODUCTION, COPY = "p:europe-west4:db", "p:europe-west4:drill-d-1"


def made(text: str) -> str:
    return url_of_copy(SecretStr(text), DATABASE, PRODUCTION, COPY, "u", SecretStr("n/+=w")).get_secret_value()


def test_driver_and_options_stay_and_host_user_and_password_are_the_copys() -> None:
    url = make_url(made(f"postgresql+asyncpg://a:old@/d?host=/cloudsql/{PRODUCTION}&application_name=x"))
    assert (url.drivername, url.username, url.password, url.database) == ("postgresql+asyncpg", "u", "n/+=w", "d")
    assert dict(url.query) == {"host": f"/cloudsql/{COPY}", "application_name": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://a:old@10.0.0.3/d",
        f"postgresql://a:old@10.0.0.3/d?host=/cloudsql/{PRODUCTION}",
        "postgresql://a:old@/d?host=/cloudsql/p:europe-west4:another",
        "postgresql://a:old@/d",
        f"postgresql://a:old@/d?host=/cloudsql/{PRODUCTION}&hostaddr=10.0.0.3",
        f"postgresql://a:old@/d?host=/cloudsql/{PRODUCTION}&service=production",
        f"postgresql://a:old@/d?host=/cloudsql/{PRODUCTION}&host=10.0.0.3",
    ],
)
def test_a_string_that_would_lead_to_production_or_elsewhere_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(BadInput, match="not the socket of db") as refused:
        made(text)
    assert "old" not in str(refused.value)


def test_a_string_without_a_user_is_refused() -> None:
    with pytest.raises(BadInput, match="names no user"):
        login_user(SecretStr(f"postgresql:///d?host=/cloudsql/{PRODUCTION}"), DATABASE)
