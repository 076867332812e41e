"""The Prefect API of one stack, asked without Prefect's client, whose import takes seconds.

Safety property: the password goes into a header, never into an address or a command line.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from deployments.environment import auth_of, prefect_url
from deployments.stack.folder import Folder
from deployments.stack.programs import ask


class PrefectApi:
    """Asks one stack's API, with its password and a CSRF token where it has them."""

    def __init__(self, folder: Folder) -> None:
        self._url, self._client = prefect_url(folder), secrets.token_hex(8)
        auth = auth_of(folder)
        self._headers = {"authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
        if auth:
            token = ask(f"{self._url}/csrf-token?client={self._client}", headers=self._headers)["token"]
            self._headers |= {"prefect-csrf-token": token, "prefect-csrf-client": self._client}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the API answers to a query. Raises OSError when it does not answer with 2xx."""
        return ask(f"{self._url}/{path}", body, headers=self._headers)
