"""Tells people, through whatever service an Apprise URL names.

Safety property: the URL is a secret, and it is in no message.
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic import SecretStr

from tasks.errors import BadInput, TransientError


def count(urls: SecretStr) -> int:
    """How many targets a secret names: URLs apart from each other by spaces, commas or lines.

    Raises BadInput where Apprise does not know one of them.
    """
    return len(_targets(urls))


def send(urls: SecretStr, title: str, body: str, number: int = 0) -> bool:
    """Send a short text to one of the targets and return True. Raises BadInput for a URL that Apprise does not know.

    Raises TransientError when it was not taken. Sending twice says it twice.
    """
    import apprise

    one = apprise.Apprise()
    one.add(_targets(urls)[number])
    if not one.notify(title=title, body=body):
        raise TransientError(
            f"sending the notification '{title}' failed: the service did not take it; retrying may clear this"
        )
    return True


def _targets(urls: SecretStr) -> Any:
    import apprise

    logging.getLogger("apprise").disabled = True  # it quotes a URL that it does not understand, token and all
    found = apprise.Apprise()
    if not found.add(urls.get_secret_value().strip()):
        raise BadInput(
            "sending a notification failed: the secret's value is not a URL that Apprise knows; see "
            "https://github.com/caronc/apprise/wiki"
        )
    return found
