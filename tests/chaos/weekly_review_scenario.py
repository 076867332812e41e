"""The weekly review under chaos: every run has a week to review of which nothing is kept.

Its logs lie in Cloud Logging, which is read in pages, or in a Log Analytics view, which is read by one query.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

from localcloud.control_client import Control
from tasks.clients.google import UNRETRIED
from tasks.log_models import Week
from tests import corpus, log_analytics
from tests.billing import TABLE
from tests.sample import Sample

ENTRIES = 1500
KEPT = {"asked.json", "history.json", "report.html", "report.md", "findings.json", "told.json"}


class WeeklyReviewScenario:
    """One estate with a week of logs and a bill. ``in_view``: its logs are in a Log Analytics view."""

    flow = "weekly-review"

    def __init__(self, sample: Sample, control: Control, *, in_view: bool = False) -> None:
        self.project, self.folder = sample.project, sample.folder
        self._sample = sample
        self._week = Week.of(datetime.now(UTC).date() - timedelta(days=7), corpus.ZONE)
        self._history: dict[str, Any] = {}
        now = datetime.now(UTC)
        began = str((now - timedelta(days=90)).date())
        control.export_billing(sample.project, "billing", TABLE, began, currency="EUR", seed=5, until=now.isoformat())
        if in_view:
            self._fill_view()
        else:
            self._write()

    def prepare(self) -> dict[str, Any]:
        for name in self._stored():
            self._sample.site.bucket.delete(name)
        return {"estate": str(self._sample.estate_file), "week": self._week.name}

    def check_safe(self) -> list[str]:
        """A review changes nothing that users would notice."""
        return []

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """One report, whole; nothing left of the reading; the history of the clean run; one line in the ledger."""
        if verdict["verdict"] != "reviewed":
            return [f"ended {verdict['verdict']}: {str(verdict.get('why'))[:300]}"]
        names = {name.rsplit("/", 1)[1]: name for name in self._stored()}
        if set(names) != KEPT:
            return [f"kept {sorted(names)}"]
        wrong = []
        read = json.loads(self._sample.site.bucket.get(names["findings.json"]))["read"]
        if read != ENTRIES:
            wrong.append(f"read {read} of {ENTRIES} entries")
        history = json.loads(self._sample.site.bucket.get(names["history.json"]))
        history["costs"].pop("as_of")  # each case has a moment of its own
        self._history = self._history or history
        if history != self._history:
            wrong.append("another history than that of the clean run")
        return wrong + self._ledger()

    def _ledger(self) -> list[str]:
        changes = self._sample.site.ledger.changes(kind="review")
        lines = [change for change in changes if change.inputs["project"] == self.project]
        return [] if len(lines) == 1 else [f"{len(lines)} lines in the ledger"]

    def _stored(self) -> list[str]:
        return self._sample.site.bucket.list("reviews/")

    def _rule(self, line: str) -> None:
        text = self._sample.estate_file.read_text()
        self._sample.estate_file.write_text(text.replace("[review]\n", f"[review]\n{line}\n"))

    def _write(self) -> None:
        self._rule("calls_per_minute = 6000")  # every case reads the week anew, and nobody else reads this project
        client = self._sample.site.google.client(LoggingServiceV2Client)
        entries = corpus.entries(4, ENTRIES, self._week, self.project)
        while batch := list(islice(entries, 500)):
            client.write_log_entries(request={"entries": batch}, **UNRETRIED)

    def _fill_view(self) -> None:
        entries = corpus.entries(4, ENTRIES, self._week, self.project)
        table = log_analytics.fill(self._sample.site.google, entries)
        self._rule(f'log_dataset = "{table}"')
