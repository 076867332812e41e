"""Asks the inbox with which version of their secret the senders of webhooks sign.

Safety property: reads only, and numbers of versions alone. Where the inbox does not answer, nothing goes out of use.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from prefect import task

from tasks.analysis.rotation_senders import behind, to_tell
from tasks.analysis.rotation_use import Blocker
from tasks.clients.inbox import Inbox
from tasks.delivery_models import Signature
from tasks.estate import Sender
from tasks.policies import READ
from tasks.rotation_work import Work
from tasks.site import Site


async def await_senders(work: Work, target: int) -> tuple[Blocker, ...]:
    """Tell what a person must give to whom; the senders that hold the old version up. None does in an emergency."""
    senders = _senders(work)
    if not senders:
        return ()
    signatures = await read_signatures(work.site)
    work.findings.extend(to_tell(senders, signatures, work.unit.main, target, work.site.estate.google.project))
    if work.wish.emergency:
        return ()
    return behind(senders, signatures, target, work.unit.overlap, datetime.now(UTC))


def _senders(work: Work) -> tuple[Sender, ...]:
    rules = work.site.estate.webhooks
    return tuple(sender for sender in rules.senders if sender.secret == work.unit.main) if rules else ()


@task(**READ)
async def read_signatures(site: Site) -> tuple[Signature, ...]:
    """With which versions each sender's deliveries were signed, and when."""
    return await asyncio.to_thread(_signatures, site)


def _signatures(site: Site) -> tuple[Signature, ...]:
    inbox = Inbox(site.settings.ledger(), site.estate.google.project)
    inbox.ensure()
    return inbox.signatures()
