"""The repository that an estate is released from: where it is, and with what git may read it."""

from __future__ import annotations

import re

from pydantic import SecretStr

from tasks.errors import BadInput
from tasks.estate import Source
from tasks.models import SecretPin
from tasks.site import Site

_URL = re.compile(r"^[a-z+]+://|^[\w.-]+@[\w.-]+:")


def source_of(site: Site) -> Source:
    """The estate's section. Raises BadInput where it has none."""
    if site.estate.source is None:
        raise BadInput(
            f"following the branch of {site.estate.name} failed: {site.estate.file.name} has no [source]; "
            "see docs/webhooks.md"
        )
    return site.estate.source


def repository_url(site: Site) -> str:
    """The repository's git URL: as the estate says it, or that of its folder."""
    named = source_of(site).repository
    if _URL.match(named):
        return named
    folder = (site.estate.folder / named).resolve()
    if not folder.is_dir():
        raise BadInput(f"reading [source] of {site.estate.file.name} failed: {named} is no folder and no git URL")
    return folder.as_uri()


def repository_token(site: Site) -> SecretStr | None:
    """The token that git reads the repository with; None where the estate names none."""
    named = source_of(site).token_secret
    return site.secrets.access(SecretPin(secret=named, version="latest")) if named else None
