"""Whether the senders of webhooks follow a rotation, by tables, and the commands that a person is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.rotation_senders import behind, to_tell
from tasks.delivery_models import Signature
from tasks.estate import Sender

NOW = datetime(2026, 11, 25, tzinfo=UTC)
GITHUB = Sender(name="github", kind="github", secret="hook", repositories=("you/app", "you/other"))
TOOL = Sender(name="n8n", kind="bearer", secret="hook", repositories=("you/app",))
OVERLAP = timedelta(days=14)


def signed(version: int, first: float, last: float, source: str = "github") -> Signature:
    """Deliveries that were signed with a version; how many days ago the first and the last of them came."""
    return Signature(
        source=source, version=version, first=NOW - timedelta(days=first), last=NOW - timedelta(days=last)
    )


@pytest.mark.parametrize(
    ("signatures", "held"),
    [
        ([], False),
        ([signed(1, 90, 60)], True),
        ([signed(0, 90, 60)], True),
        ([signed(1, 90, 5), signed(2, 4, 0)], False),
        ([signed(1, 90, 1), signed(2, 4, 0)], True),
        ([signed(1, 90, 15), signed(2, 20, 0)], False),
        ([signed(3, 1, 0)], False),
        ([signed(1, 90, 60), signed(2, 3, 0, "n8n")], True),
    ],
    ids=["never sent anything", "not with the new one yet", "as it was before this was written down", "followed",
         "one of two places stayed behind", "the last old one is long ago", "a newer one still", "another sender's"],
)  # fmt: skip
def test_the_old_version_is_held_until_its_sender_signs_with_the_new_one(
    signatures: list[Signature], held: bool
) -> None:
    found = behind([GITHUB], signatures, 2, OVERLAP, NOW)
    assert bool(found) is held
    assert all("github signs with an older version than 2, last at 2026-" in one.what for one in found)


def test_github_is_told_place_and_command_for_each_repository_and_the_value_is_shown_nowhere() -> None:
    (told,) = to_tell([GITHUB], [signed(1, 9, 1)], "hook", 2, "p")
    assert (told.severity, told.subject) == ("warning", "sender github")
    assert "you/app: Settings → Webhooks" in told.way_out
    assert "gcloud secrets versions access 2 --secret=hook --project=p | gh api --silent" in told.way_out
    assert "repos/you/other/hooks/$HOOK/config -F secret=@-" in told.way_out
    assert 'endswith("/hooks/github")' in told.way_out


def test_a_tool_is_told_both_places_where_its_token_may_be() -> None:
    (told,) = to_tell([TOOL], [], "hook", 2, "p")
    assert "access 2 --secret=hook --project=p | gh secret set CARETAKER_TOKEN --repo=you/app" in told.way_out
    assert "| wl-copy" in told.way_out


def test_who_signed_with_the_new_version_is_told_nothing_more() -> None:
    assert to_tell([GITHUB, TOOL], [signed(2, 1, 0), signed(2, 1, 0, "n8n")], "hook", 2, "p") == ()
