"""Notifications, to a real HTTP server through Apprise's JSON service."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tasks.clients.notify import count, send
from tasks.errors import BadInput, TransientError
from tests.inbox import Inbox, inbox

__all__ = ["inbox"]


def url(inbox: Inbox) -> SecretStr:
    return SecretStr(f"json://ops:t0ken@127.0.0.1:{inbox.server_port}/hook")


def test_title_and_body_arrive(inbox):
    assert send(url(inbox), "released api", "revision api-7 has all traffic")
    assert [(m["title"], m["message"]) for m in inbox.taken] == [("released api", "revision api-7 has all traffic")]


def test_a_service_that_refuses_is_worth_a_retry_and_its_url_is_not_told(inbox):
    inbox.status = 503
    with pytest.raises(TransientError, match="sending the notification 'released api' failed") as caught:
        send(url(inbox), "released api", "x")
    assert "t0ken" not in str(caught.value)


def test_a_url_that_apprise_does_not_know_is_bad_input_and_is_not_told():
    with pytest.raises(BadInput, match="not a URL that Apprise knows") as caught:
        send(SecretStr("nowhere:t0ken"), "t", "b")
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("url", ["slack://not-a-token-4711", "tgram://not-a-token-4711:x/y", "nosuch://u@h/token-4711"])
def test_a_url_that_is_not_understood_is_in_no_log(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput) as refused:
        send(SecretStr(url), "title", "body")
    assert "4711" not in str(refused.value) + caplog.text + "".join(capfd.readouterr())


def test_each_target_of_a_secret_is_told_by_itself(inbox):
    both = SecretStr(f"{url(inbox).get_secret_value()}/one\n{url(inbox).get_secret_value()}/two")
    assert count(both) == 2
    send(both, "t", "b", 1)
    assert inbox.paths == ["/hook/two"]
