"""A sample estate whose database is cared for: statements on it, and the flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from tasks.clients import engines
from tasks.maintenance_models import MaintenanceVerdict
from tasks.models import SecretPin
from tests.planted import FREEZE_AGE
from tests.sample import Sample, ended

POLICY = f"[databases.maintenance]\nfreeze_age = {FREEZE_AGE}\n\n"


class Cared:
    """One sample under care."""

    def __init__(self, sample: Sample, policy: str = POLICY) -> None:
        self.sample = sample
        text = sample.estate_file.read_text()
        if "[databases.maintenance]" not in text:
            sample.estate_file.write_text(text.replace("[[services]]", policy + "[[services]]", 1))
            sample._site = None
        self.database: Any = sample.site.estate.databases[0]

    def connect(self, options: str = "") -> psycopg.Connection[Any]:
        """A session of the application's user, in autocommit; with ``-c role=none`` it sees its user's sessions."""
        pin = SecretPin(secret=self.database.url_secret, version="latest")
        url = engines.parse(self.sample.site.secrets.access(pin), "a database")
        return psycopg.connect(
            host=url.query["host"], user=url.username, password=url.password, dbname=url.database, autocommit=True,
            options=options,
        )

    def point_at(self, sockets: Path) -> None:
        """Make the connection string lead to the server of another folder of sockets."""
        secrets, name = self.sample.site.secrets, self.database.url_secret
        url = engines.parse(secrets.access(SecretPin(secret=name, version="latest")), "a database")
        there = url.update_query_dict({"host": str(sockets)}).render_as_string(hide_password=False)
        secrets.add_version(name, SecretStr(there))

    def care(self, **parameters: Any) -> MaintenanceVerdict:
        """Run the flow; its verdict, whatever it is."""
        outcome = self.outcome(**parameters)
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, MaintenanceVerdict), outcome
        return outcome

    def outcome(self, **parameters: Any) -> Any:
        """Run the flow; its verdict or its error."""
        from flows.maintain_database import MaintainDatabase, maintain_database

        request = MaintainDatabase(estate=self.sample.estate_file, **parameters)
        return ended(maintain_database(request, return_state=True))
