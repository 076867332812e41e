"""``caretaker watch``: a verdict that did not come reaches people, over real HTTP and from a real ledger, once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from deployments.stack.programs import HOME
from deployments.watch import look, schedules, tell
from tasks.errors import BadInput, TransientError
from tasks.models import SecretPin
from tasks.site import open_site
from tasks.verdicts import tell_begun, tell_death, tell_verdict
from tests.inbox import Inbox, inbox

__all__ = ["inbox"]
DUE = datetime(2026, 11, 25, 2, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FILE = """
deployments:
- name: pyplots
  entrypoint: flows/verify_backups.py:verify_backups
  schedules:
  - {cron: "30 3 * * *", timezone: Europe/Berlin, slug: nightly}
"""


@dataclass
class Secrets:
    """The secret that holds the notification's URL."""

    value: SecretStr

    def access(self, pin: SecretPin) -> SecretStr:
        assert (pin.secret, pin.version) == ("sync-token", "latest")
        return self.value


@pytest.fixture
def site(tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("CARETAKER_NOTIFY_URL", raising=False)
    monkeypatch.setenv("CARETAKER_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    text = (HOME / "estate.toml").read_text().replace('url_secret = ""', 'url_secret = "sync-token"')
    (tmp_path / "estate.toml").write_text(text)
    (tmp_path / "prefect.yaml").write_text(FILE)
    made: Any = open_site(tmp_path / "estate.toml")
    made.secrets = Secrets(SecretStr(inbox.url))
    return made


def one_look(site: Any, folder: Path, now: datetime) -> int:
    return tell(site, *look(site.ledger, schedules(folder / "prefect.yaml"), now), now)


def scheduled(due: datetime) -> Any:
    maker = SimpleNamespace(type="SCHEDULE", display_value="nightly")
    return SimpleNamespace(id=uuid4(), name="verify backups: newest", created_by=maker, expected_start_time=due)


def left(hook: Any, due: datetime, **state: Any) -> None:
    """What a run leaves, by the very hooks that Prefect calls."""
    flow = SimpleNamespace(name="verify-backups", timeout_seconds=6 * 3600)
    ended = SimpleNamespace(name="Completed", is_completed=lambda: True)
    asyncio.run(hook(flow, scheduled(due), SimpleNamespace(**state) if state else ended))


def test_a_missing_verdict_is_sent_within_thirty_minutes_and_once(site: Any, tmp_path: Path, inbox: Inbox) -> None:
    looks = [DUE + number * 5 * MINUTE + timedelta(seconds=7) for number in range(-3, 24)]
    found = [look for look in looks if one_look(site, tmp_path, look)]
    assert len(found) == 1
    assert DUE < found[0] <= DUE + 30 * MINUTE
    assert [message["title"] for message in inbox.taken] == ["pyplots: 1 schedule without a verdict"]
    assert inbox.taken[0]["message"] == "verify-backups/nightly did not run (due 2026-11-25 02:30 UTC)"


def test_a_verdict_that_a_run_left_is_not_missing(site: Any, tmp_path: Path, inbox: Inbox) -> None:
    assert one_look(site, tmp_path, DUE - MINUTE) == 0
    left(tell_begun, DUE)
    assert one_look(site, tmp_path, DUE + 40 * MINUTE) == 0, "it began, and has six hours"
    left(tell_verdict, DUE)
    assert one_look(site, tmp_path, DUE + timedelta(hours=9)) == 0
    assert inbox.taken == []


def test_a_run_by_hand_is_no_verdict_of_a_schedule(site: Any, tmp_path: Path, inbox: Inbox) -> None:
    one_look(site, tmp_path, DUE - MINUTE)
    by_hand = scheduled(DUE)
    by_hand.created_by = None
    ended = SimpleNamespace(name="Completed", is_completed=lambda: True)
    asyncio.run(tell_verdict(SimpleNamespace(name="verify-backups"), by_hand, ended))  # type: ignore[arg-type]
    assert one_look(site, tmp_path, DUE + 30 * MINUTE) == 1


def test_a_notification_that_was_not_taken_is_sent_at_the_next_look(site: Any, tmp_path: Path, inbox: Inbox) -> None:
    one_look(site, tmp_path, DUE - MINUTE)
    inbox.status = 503
    with pytest.raises(TransientError):
        one_look(site, tmp_path, DUE + 25 * MINUTE)
    inbox.status = 200
    assert one_look(site, tmp_path, DUE + 30 * MINUTE) == 1
    assert one_look(site, tmp_path, DUE + 35 * MINUTE) == 0
    assert (len(inbox.taken), len(inbox.paths)) == (1, 2)


def test_a_run_that_died_is_told_once(site: Any, tmp_path: Path, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    asyncio.run(tell_death("deploy", scheduled(now)))
    assert one_look(site, tmp_path, now + MINUTE) == 1
    assert one_look(site, tmp_path, now + 6 * MINUTE) == 0
    assert [message["title"] for message in inbox.taken] == ["pyplots: 1 dead run"]
    assert "died without a word" in inbox.taken[0]["message"]


def test_two_schedules_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text(FILE + FILE.partition("schedules:\n")[2])
    with pytest.raises(BadInput, match="there are two called verify-backups/nightly"):
        schedules(tmp_path / "prefect.yaml")


def test_every_flow_with_a_schedule_leaves_a_verdict() -> None:
    import yaml
    from prefect.flows import load_flow_from_entrypoint

    for deployment in yaml.safe_load((HOME / "prefect.yaml").read_text())["deployments"]:
        if deployment.get("schedules"):
            flow = load_flow_from_entrypoint(str(HOME / deployment["entrypoint"]))
            assert tell_verdict in flow.on_completion_hooks, f"{flow.name}: @flow(…, **SCHEDULED)"
            assert tell_verdict in flow.on_failure_hooks
            assert tell_begun in flow.on_running_hooks
