"""The only reader of the environment."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import BadInput


class Settings(BaseSettings):
    """What a machine decides, as against what the estate decides. Variables are ``CARETAKER_STATE`` and so on."""

    model_config = SettingsConfigDict(env_prefix="CARETAKER_", extra="ignore", frozen=True)

    state: Path = Field(Path(".caretaker"), description="Where the embedded stack keeps its state")
    estate: Path = Field(Path("estate.toml"), description="The estate file, where a deployment does not name one")
    ledger_url: str = Field("", description="SQLAlchemy URL of the ledger; empty: the embedded stack's own")
    notify_url: SecretStr = Field(SecretStr(""), description="apprise URLs that stand in for the estate's secret")
    prefect_auth: SecretStr = Field(
        SecretStr(""), description="user:password of the embedded Prefect server; needed where it is not on loopback"
    )
    cloudsql_sockets: Path = Field(Path("/cloudsql"), description="Where Cloud SQL's proxy puts its sockets")

    prefect_url: str = Field("", validation_alias="PREFECT_API_URL", description="Prefect's API")
    prefect_login: SecretStr | None = Field(
        None, validation_alias="PREFECT_API_AUTH_STRING", description="user:password of a server with basic auth"
    )
    prefect_key: SecretStr | None = Field(None, validation_alias="PREFECT_API_KEY", description="An API key")

    @cached_property
    def local_cloud(self) -> dict[str, Any]:
        """The endpoints of this state's local cloud: ``grpc``, ``storage``, ``bigquery``, ``control``, ``sockets``.

        Raises BadInput when no local cloud was ever started in this state folder.
        """
        path = self.state / "cloud" / "localcloud.json"
        if not path.exists() and (self.state / "localcloud.json").exists():
            path = self.state / "localcloud.json"  # the state of a local cloud without a stack around it
        try:
            return json.loads(path.read_text())  # type: ignore[no-any-return]
        except FileNotFoundError:
            raise BadInput(
                f"reading the local cloud's endpoints from {path} failed: no such file; run 'caretaker up' first, "
                "or pass --state"
            ) from None

    def ledger(self) -> str:
        """The SQLAlchemy URL of the ledger: the one given, else that of this state's embedded stack.

        Raises BadInput when neither is there.
        """
        path = self.state / "secrets" / "ledger-url"
        try:
            return self.ledger_url or path.read_text()
        except FileNotFoundError:
            raise BadInput(
                f"reading the ledger's address from {path} failed: no such file; run 'caretaker up' first, or set "
                "CARETAKER_LEDGER_URL"
            ) from None


    def prefect(self) -> str:
        """The address of Prefect's API. Raises BadInput where the environment names none."""
        if not self.prefect_url:
            raise BadInput('finding Prefect\'s API failed: set PREFECT_API_URL, or eval "$(caretaker env)"')
        return self.prefect_url


def settings() -> Settings:
    """The settings of this process, read anew."""
    return Settings()
