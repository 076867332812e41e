"""No value of a secret is in the variables of any frame that an error of these clients comes from."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from localcloud.control_client import Control
from tasks.clients.cloud_sql import CloudSql
from tasks.clients.login_url import with_login
from tasks.clients.login_users import LoginUsers
from tasks.clients.secret_check import check
from tasks.clients.secret_manager import SecretManager
from tasks.errors import BadInput, NotAllowed, OpsError, PermanentError, TransientError
from tasks.estate.surroundings import SecretCheck
from tasks.models import SecretPin
from tests.told import told

CLEAR = "s3cret-value-0123456789"
VALUE = SecretStr(CLEAR)
ADD, SET, MAKE = "SecretManagerService.AddSecretVersion", "SqlUsersService.Update", "SqlUsersService.Insert"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
@pytest.mark.parametrize("method", [ADD, SET, MAKE])
def test_a_call_that_bears_a_value_and_fails_tells_nothing_of_it(
    method: str, code: str, google: Any, faults: Control, project: str
) -> None:
    fault = faults.plant(method, "error", project=project, code=code)
    manager, sql = SecretManager(google), CloudSql(google)
    manager.create_secret("token")
    calls = {
        ADD: lambda: manager.add_version("token", VALUE),
        SET: lambda: sql.set_password("main", "ada", VALUE),
        MAKE: lambda: sql.create_user("main", "ada", VALUE),
    }
    with pytest.raises(OpsError, match=code) as it:
        calls[method]()
    assert faults.fault(fault)["met"]
    assert CLEAR not in told(it.value)


def test_a_value_that_is_no_text_is_refused_and_not_told(google: Any, project: str) -> None:
    manager = SecretManager(google)
    manager.create_secret("token")
    parent = f"projects/{project}/secrets/token"
    manager._client.add_secret_version(request={"parent": parent, "payload": {"data": b"\xff" + CLEAR.encode()}})
    with pytest.raises(BadInput, match="not UTF-8") as it:
        manager.access(SecretPin(secret="token", version="1"))
    assert CLEAR not in told(it.value)


def test_a_login_that_fails_does_not_tell_its_password(database: str) -> None:
    url = SecretStr(make_url(database).set(username="nobody", password=CLEAR).render_as_string(hide_password=False))
    with pytest.raises(NotAllowed, match="nobody") as it:
        LoginUsers(url).prove("owner", ())
    assert CLEAR not in told(it.value)


def test_a_connection_string_that_cannot_be_composed_is_not_told() -> None:
    for url in (SecretStr(f"host=db password={CLEAR}"), SecretStr(f"postgresql+psycopg://a:b@db:{CLEAR}@db/x")):
        with pytest.raises(BadInput) as it:
            with_login(url, "b", VALUE)
        assert CLEAR not in told(it.value)


def test_a_provider_that_cannot_be_asked_is_not_told_about_with_the_value() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        rule = SecretCheck(url=f"http://127.0.0.1:{nobody.getsockname()[1]}/me")
        with pytest.raises(TransientError, match="checking key at") as it:
            check(rule, VALUE, "key")
    assert CLEAR not in told(it.value)


@pytest.mark.parametrize("bad", [SecretStr(f"{CLEAR}\n{CLEAR}"), SecretStr(f"{CLEAR}€")])
def test_a_value_that_no_header_can_hold_is_refused_for_good_and_not_told(bad: SecretStr) -> None:
    with socket.create_server(("127.0.0.1", 0)) as provider:
        rule = SecretCheck(url=f"http://127.0.0.1:{provider.getsockname()[1]}/me")
        with pytest.raises(PermanentError, match="checking key at") as it:
            check(rule, bad, "key")
    assert CLEAR not in told(it.value)


def test_the_witness_sees_a_value_in_a_variable_of_a_frame_below() -> None:
    def careless() -> None:
        clear = VALUE.get_secret_value()
        raise PermanentError(f"something of {len(clear)} characters failed")

    with pytest.raises(PermanentError) as it:
        careless()
    assert told(it.value).count(CLEAR) >= 2, "both Python and rich show it"
