"""Whether those who send webhooks follow a rotation of what they sign with, and how a person lets them. No I/O.

Safety property: the old version of a sender's secret is not taken out of use before that sender was seen with the new
one; what is known of it are numbers of versions, and no command shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.analysis.rotation_use import Blocker
from tasks.delivery_models import Signature
from tasks.estate import Sender
from tasks.models import Finding

#: Where a secret without any overlap is still looked at: what came in this time says what is used.
LEAST = timedelta(days=1)


def behind(
    senders: Iterable[Sender], signatures: Sequence[Signature], target: int, overlap: timedelta, now: datetime
) -> tuple[Blocker, ...]:
    """The senders that still sign with an older version than the new one; who never sent anything holds nothing up."""
    found: list[Blocker] = []
    for sender in senders:
        old, new = _uses(signatures, sender, target)
        if not old or (new and _is_over(old, new, max(overlap, LEAST), now)):
            continue
        last = max(one.last for one in old)
        what = f"sender {sender.name} signs with an older version than {target}, last at {last:%Y-%m-%d %H:%M} UTC"
        found.append(Blocker(what=what, way_out="give it the new one, as the finding says"))
    return tuple(found)


def _uses(
    signatures: Sequence[Signature], sender: Sender, target: int
) -> tuple[list[Signature], list[Signature]]:
    ours = [one for one in signatures if one.source == sender.name]
    return [one for one in ours if one.version < target], [one for one in ours if one.version >= target]


def _is_over(old: list[Signature], new: list[Signature], overlap: timedelta, now: datetime) -> bool:
    """Whether all of a sender followed: of two places that share a secret one may have stayed behind."""
    last = max(one.last for one in old)
    return last <= min(one.first for one in new) or last + overlap <= now


def to_tell(
    senders: Iterable[Sender], signatures: Sequence[Signature], secret: str, target: int, project: str
) -> tuple[Finding, ...]:
    """For each sender that was not seen with the new version yet: where its value goes, and the command for it."""
    access = f"gcloud secrets versions access {target} --secret={secret} --project={project}"
    return tuple(
        Finding(
            severity="warning", subject=f"sender {sender.name}",
            what=f"it must be given version {target} of {secret}, which no delivery of it was signed with yet",
            way_out=way_out(sender, access),
        )
        for sender in senders
        if not _uses(signatures, sender, target)[1]
    )  # fmt: skip


def way_out(sender: Sender, access: str) -> str:
    """The place in the sender's settings, and the command that copies the value there without showing it."""
    if sender.kind == "github":
        return "; ".join(_github(sender, repository, access) for repository in sender.repositories)
    clipboard = f"{access} | wl-copy (macOS: pbcopy)"
    paste = f"n8n: Credentials → the one of the node that calls caretaker; into the clipboard: {clipboard}"
    if sender.kind == "standard":
        return paste
    actions = (f"{access} | gh secret set CARETAKER_TOKEN --repo={one}" for one in sender.repositories)
    return f"GitHub Actions: Settings → Secrets and variables → Actions: {'; '.join(actions)}. {paste}"


def _github(sender: Sender, repository: str, access: str) -> str:
    """https://docs.github.com/en/rest/repos/webhooks: the configuration alone is changed, and the ping proves it."""
    hooks = f"repos/{repository}/hooks"
    mine = f'.[] | select(.config.url | endswith("/hooks/{sender.name}")).id'
    return (
        f"{repository}: Settings → Webhooks → the hook → Secret: "
        f"HOOK=$(gh api {hooks} --jq '{mine}') && {access} | "
        f"gh api --silent --method PATCH {hooks}/$HOOK/config -F secret=@- && "
        f"gh api --silent --method POST {hooks}/$HOOK/pings"
    )
