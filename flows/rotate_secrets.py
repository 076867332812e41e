"""Rotate secrets: new credentials beside the old ones, proved, released by canary, and only then the old ones go.

When: on the first Tuesday of each month for what is due, every morning to finish what waits, by hand or from the UI
after a leak. It touches secret versions and their annotations, the idle login user of a database, and revisions of the
services that use them: the same image with other version numbers. It never changes code or schema, and never takes out
of use what it did not look up to be unused. Killed at any moment and run again, it goes on from what it finds.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.states import Failed
from pydantic import Field

from tasks.forms import Form
from tasks.ground import refuse_freeze
from tasks.locks import services_locked
from tasks.record import publish_report, tell
from tasks.releases import settle
from tasks.rotation_preparing import prepare_all
from tasks.rotation_reports import rotation_report
from tasks.rotation_verdicts import asks_a_person, good, summary
from tasks.rotation_work import Wish
from tasks.rotations import chosen, locks_of, rotate_all, services_of
from tasks.site import open_site
from tasks.verdicts import SCHEDULED

#: Secret Manager's own rule for a name.
SecretNames = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")], ...], Field(max_length=50)
]


class RotateSecrets(Form):
    """What a person decides about a rotation."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: which project is changed")
    secrets: SecretNames = Field((), description="Secrets to rotate; none named: all of the estate")
    dry_run: bool = Field(False, description="Show who uses which version, and change nothing")
    emergency: bool = Field(
        False,
        description="After a leak: no grace for what could be rolled back to, and the old user's sessions are ended",
    )
    only_due: bool = Field(False, description="Only what would be too old before the next monthly run")
    only_finish: bool = Field(False, description="Only go on with rotations that are under way; begin none")
    prepare: bool = Field(False, description="Make the database's rotator, owner and login users, once; rotate nothing")
    session_wait_seconds: int = Field(
        600, ge=0, le=7200, description="How long to wait for the old user's sessions to end before it is left enabled"
    )
    force: bool = Field(False, description="Rotate inside a freeze window; an emergency does anyway")


@flow(name="rotate-secrets", flow_run_name="rotate secrets", timeout_seconds=4 * 3600, **SCHEDULED)
async def rotate_secrets(request: RotateSecrets) -> Any:
    """Look, plan, make new credentials, prove them, release, verify, take the old ones out of use, record."""
    began = time.monotonic()
    site = open_site(request.estate)
    units = chosen(site, request.secrets)
    await refuse_freeze(site.estate, request.force or request.emergency)
    wait = timedelta(seconds=request.session_wait_seconds)
    wish = Wish(request.emergency, request.only_due, request.only_finish, request.dry_run, wait)
    async with services_locked(site, locks_of(site, units)):
        if request.prepare and not request.dry_run:
            outcomes = await prepare_all(site, units)
        else:
            if not request.dry_run:
                await settle(site, services_of(site, units))
            outcomes = await rotate_all(site, units, wish)
    verdict = summary(outcomes, wish, time.monotonic() - began)
    title = f"rotate secrets of {site.estate.name}: {verdict.verdict}"
    shown = rotation_report(verdict, f"Secrets of {site.estate.name}")
    if request.dry_run:
        await publish_report("rotation-plan", shown, title)
        planned = verdict.model_copy(update={"report": shown})
        return planned if good(verdict) else Failed(message=verdict.why or verdict.verdict, data=planned)
    well = good(verdict) and not asks_a_person(verdict)
    told = await tell(site, "rotation", shown, title, verdict.why or "every credential was replaced", aloud=not well)
    done = verdict.model_copy(update={"findings": told, "report": shown})
    return done if good(verdict) else Failed(message=verdict.why or verdict.verdict, data=done)
