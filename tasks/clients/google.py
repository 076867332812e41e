"""How the clients reach Google: project, region, credentials, and one official client per API.

Safety property: the local cloud is reached only when the estate says so, and Google only when it does not; no
variable decides it. Google's own retries are off in every call (``UNRETRIED``): our policies alone retry, so the call
log says exactly what was attempted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any, Protocol

from tasks.clients import deadlines
from tasks.clients.google_errors import Attempt, translated
from tasks.settings import Settings

#: What every call of an official client is given: no retry of its own, and a deadline.
UNRETRIED: dict[str, Any] = {"retry": None, "timeout": deadlines.CALL_SECONDS}

#: No answer of more is taken: gRPC reads its length first, and refuses it before there is memory for it.
MOST_ANSWER_BYTES = 24 * 1024 * 1024
_RECEIVED = ("grpc.max_receive_message_length", MOST_ANSWER_BYTES)
_CHANNEL_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", "caretaker"),
    _RECEIVED,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_channels: dict[str, Any] = {}
_lock = threading.Lock()


class Place(Protocol):
    """The part of the estate that says where it lives."""

    @property
    def project(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def local_cloud(self) -> bool: ...
    @property
    def bucket(self) -> str: ...
    @property
    def repository(self) -> str: ...


class Google:
    """One project in one region, and the official clients that speak to it, each built when it is first asked for."""

    def __init__(self, place: Place, settings: Settings) -> None:
        self.project, self.region = place.project, place.region
        self.bucket, self.repository = place.bucket, place.repository
        self.local = place.local_cloud
        self._settings = settings
        self._clients: dict[str, Any] = {}

    @property
    def parent(self) -> str:
        """``projects/P/locations/R``."""
        return f"projects/{self.project}/locations/{self.region}"

    def attempt(self, what: str, role: str = "", way_out: str = "") -> Attempt:
        """Name what is attempted, for the message of an error."""
        return Attempt(what, role, self.project, "" if self.local else self.member, way_out)

    def doing(self, what: str, role: str = "", way_out: str = "") -> AbstractContextManager[None]:
        """Turn Google's errors inside into ours; see ``google_errors``."""
        return translated(self.attempt(what, role, way_out))

    def client(self, kind: type[Any]) -> Any:
        """The official gRPC client of this class, connected; one per class."""
        with _lock:
            if kind.__name__ not in self._clients:
                self._clients[kind.__name__] = self._connect(kind)
            return self._clients[kind.__name__]

    @property
    def storage_endpoint(self) -> str:
        """Where the local cloud serves storage."""
        return str(self._settings.local_cloud["storage"])

    @cached_property
    def storage(self) -> Any:
        """The official storage client, which speaks HTTP."""
        # Else it reads a bucket's metadata in a thread behind our back at the first call, for traces that nobody takes.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        from google.cloud import storage

        if not self.local:
            return storage.Client(self.project, credentials=self.credentials)
        from google.auth.credentials import AnonymousCredentials

        options = {"api_endpoint": self.storage_endpoint}
        return storage.Client(self.project, credentials=AnonymousCredentials(), client_options=options)

    @cached_property
    def bigquery(self) -> Any:
        """The official BigQuery client, which speaks HTTP."""
        from google.cloud import bigquery

        if not self.local:
            return bigquery.Client(self.project, credentials=self.credentials)
        from google.auth.credentials import AnonymousCredentials

        options = {"api_endpoint": self._settings.local_cloud["bigquery"]}
        return bigquery.Client(self.project, credentials=AnonymousCredentials(), client_options=options)

    @cached_property
    def credentials(self) -> Any:
        """The application default credentials of this process."""
        import google.auth

        with translated(Attempt("finding Google credentials", project=self.project)):
            return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]

    @cached_property
    def member(self) -> str:
        """Who we are to IAM, as ``gcloud --member`` takes it; a placeholder where the credentials do not tell."""
        email = getattr(self.credentials, "service_account_email", "") or getattr(self.credentials, "account", "")
        if not email or email == "default":
            return "MEMBER"
        kind = "serviceAccount" if email.endswith("gserviceaccount.com") else "user"
        return f"{kind}:{email}"

    def _connect(self, kind: type[Any]) -> Any:
        transport = kind.get_transport_class("grpc")
        if not self.local:
            return kind(credentials=self.credentials, transport=partial(transport, channel=bounded(transport)))
        return kind(transport=transport(channel=channel(self._settings.local_cloud["grpc"])))


def bounded(transport: Any) -> Callable[..., Any]:
    """What makes a transport's channel to Google: its own, but that no answer is taken above our bound."""

    def create(host: str, *, options: Sequence[tuple[str, Any]] = (), **more: Any) -> Any:
        ours = [option for option in options if option[0] != _RECEIVED[0]]
        return transport.create_channel(host, options=[*ours, _RECEIVED], **more)

    return create


def channel(endpoint: str) -> Any:
    """The channel to a local cloud; one per endpoint and process."""
    import grpc

    with _channel_lock:
        if endpoint not in _channels:
            _channels[endpoint] = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        return _channels[endpoint]


_channel_lock = threading.Lock()
