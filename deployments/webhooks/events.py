"""What a delivery asks for: the few facts of it that count, read from its JSON.

Safety property: only facts that hold to a pattern come out. A run of a fork's workflow is never taken for one of the
repository, though its branch may bear the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from tasks.delivery_models import Arrival
from tasks.estate import Sender, Source

Json = Mapping[str, Any]


class NotAllowedHere(Exception):
    """The sender is authentic, and may not speak of this repository."""


class NotUnderstood(Exception):
    """The delivery lacks what every delivery of its kind has. The message holds nothing of it."""


class Wish(NamedTuple):
    """What an event asks to be released: a commit, a tag, or the head of a branch; or why it asks for nothing."""

    branch: str = ""
    commit: str = ""
    tag: str = ""
    ignored: str = ""


def read_arrival(sender: Sender, source: Source, headers: Mapping[str, str], body: bytes, document: Json) -> Arrival:
    """The facts of a delivery. Raises NotUnderstood, NotAllowedHere."""
    github = sender.kind == "github"
    event = headers.get("x-github-event", "") if github else document.get("type")
    number = headers.get("x-github-delivery" if github else "webhook-id", "")
    content = document if github else _table(document, "data")
    wish = _wish(sender, source, str(event), content) if event != "ping" else Wish(ignored="ping: it asks for nothing")
    if event != "ping" or "repository" in content:
        _refuse_stranger(sender, content)
    signed = body if github else number.encode("utf-8", "surrogatepass") + b"." + body
    try:
        return Arrival(
            source=sender.name, delivery=number, event=str(event), digest=hashlib.sha256(signed).hexdigest(),
            branch=wish.branch, commit=wish.commit, tag=wish.tag, ignored=wish.ignored,
        )  # fmt: skip
    except ValidationError as error:
        fields = ", ".join(sorted({str(detail["loc"][0]) for detail in error.errors()}))
        raise NotUnderstood(f"the delivery's {fields} is not one that is taken") from None


def _refuse_stranger(sender: Sender, content: Json) -> None:
    if _repository(content) not in {name.lower() for name in sender.repositories}:
        raise NotAllowedHere


def _repository(content: Json) -> str:
    named = content.get("repository")
    return str(named.get("full_name") if isinstance(named, Mapping) else named).lower()


def _wish(sender: Sender, source: Source, event: str, content: Json) -> Wish:
    if event not in sender.allowed:
        return Wish(ignored=f"{sender.name} may not release by this event")
    return WISHES[event](sender, source, content)


def _push(_: Sender, source: Source, content: Json) -> Wish:
    """https://docs.github.com/en/webhooks/webhook-events-and-payloads#push"""
    ref = _text(content, "ref")
    if not ref.startswith("refs/heads/"):
        return Wish(ignored="a push of a tag: the event release says when one is published")
    branch = ref.removeprefix("refs/heads/")
    if content.get("deleted") is True:
        return Wish(branch=branch, ignored="the branch was deleted")
    if source.branch and branch != source.branch:
        return Wish(branch=branch, ignored=f"{branch} is not the branch that is released: {source.branch}")
    if source.gate == "tests":
        return Wish(branch=branch, ignored="it waits for its tests: the workflow run that passes releases it")
    return Wish(branch=branch, commit=_text(content, "after"))


def _release(_: Sender, __: Source, content: Json) -> Wish:
    """https://docs.github.com/en/webhooks/webhook-events-and-payloads#release"""
    release = _table(content, "release")
    if content.get("action") != "published":
        return Wish(ignored="a release counts when it is published")
    if release.get("draft") is True or release.get("prerelease") is True:
        return Wish(ignored="a draft or a pre-release is not released")
    return Wish(tag=_text(release, "tag_name"))


def _workflow_run(sender: Sender, _: Source, content: Json) -> Wish:
    """https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_run"""
    run = _table(content, "workflow_run")
    if content.get("action") != "completed" or run.get("conclusion") != "success":
        return Wish(ignored="a workflow run counts when it has succeeded")
    if _repository({"repository": run.get("head_repository")}) != _repository(content) or run.get("event") != "push":
        return Wish(ignored="a workflow run counts when a push to the repository itself started it")
    if sender.workflows and _text(run, "path").partition("@")[0].rpartition("/")[2] not in sender.workflows:
        return Wish(ignored="another workflow than those that count")
    return Wish(branch=_text(run, "head_branch"), commit=_text(run, "head_sha"))


def _deploy(_: Sender, __: Source, content: Json) -> Wish:
    """A tool's own request: ``{"type": "deploy", "data": {"repository": …, "branch": …, "commit": …}}``."""
    return Wish(branch=_optional(content, "branch"), commit=_optional(content, "commit"))


WISHES: dict[str, Callable[[Sender, Source, Json], Wish]] = {
    "push": _push, "release": _release, "workflow_run": _workflow_run, "deploy": _deploy,
}  # fmt: skip


def _table(content: Json, key: str) -> Json:
    found = content.get(key)
    if not isinstance(found, Mapping):
        raise NotUnderstood(f"the delivery has no {key}")
    return found


def _text(content: Json, key: str) -> str:
    found = content.get(key)
    if not isinstance(found, str) or not found:
        raise NotUnderstood(f"the delivery has no {key}")
    return found


def _optional(content: Json, key: str) -> str:
    return _text(content, key) if content.get(key) is not None else ""
