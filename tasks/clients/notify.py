"""Tells people, through whatever service an Apprise URL names.

Safety property: the URL is a secret, and it is in no message.
"""

from __future__ import annotations

import logging

from pydantic import SecretStr

from tasks.errors import BadInput, TransientError


def send(url: SecretStr, title: str, body: str) -> bool:
    """Send a short text and return True. Raises BadInput for a URL that Apprise does not know.

    Raises TransientError when it was not taken. Sending twice says it twice.
    """
    import apprise

    logging.getLogger("apprise").disabled = True  # it quotes a URL that it does not understand, token and all
    target = apprise.Apprise()
    if not target.add(url.get_secret_value().strip()):
        raise BadInput(
            "sending a notification failed: the secret's value is not a URL that Apprise knows; see "
            "https://github.com/caronc/apprise/wiki"
        )
    if not target.notify(title=title, body=body):
        raise TransientError(
            f"sending the notification '{title}' failed: the service did not take it; retrying may clear this"
        )
    return True
