"""Rolls out what a provider issued and a person added, or asks for it.

Safety property: nothing is invented, and nothing serves with a value that its provider did not take.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.analysis import rotation
from tasks.analysis.rotation_attempts import Stage
from tasks.analysis.rotation_refusals import refusals
from tasks.analysis.rotation_use import old_versions
from tasks.errors import PermanentError
from tasks.models import Finding
from tasks.rotation_facts import check_external
from tasks.rotation_finishing import finish
from tasks.rotation_models import RotationOutcome
from tasks.rotation_work import Work


async def roll_out(work: Work, stage: Stage) -> RotationOutcome:
    """Roll out a version that somebody added, once its provider takes it; or ask for one that is due."""
    name, version = work.unit.main, work.ground.secrets[work.unit.main].version(stage.target)
    if version is None or (stage.do == "retire" and not any(old_versions(work.ground, {name: stage.target}).values())):
        return _asked_for(work)
    reasons = refusals(work.site.estate, work.unit, work.ground, None)
    if reasons:
        return work.outcome("refused", "; ".join(reasons))
    if work.wish.dry_run:
        return work.outcome("planned", f"version {stage.target} would be checked, released, and the older ones retired")
    try:
        checked = await check_external(work.site, name, stage.target)
    except PermanentError as error:
        disable = work.site.rotating_secrets.disabling(name, stage.target)
        why = f"{error}; the older one stays enabled; disable this one, or the next deploy pins it: {disable}"
        return work.outcome("failed", why)
    if not checked:
        what = f"{name} has no check in the estate, so the probes of its services alone judge it"
        work.findings.append(Finding(severity="info", subject=name, what=what, way_out="add secrets.check"))
    return await finish(work, stage)


def _asked_for(work: Work) -> RotationOutcome:
    """Only its provider can issue the next one: ask for it when it is due, with the command that does not show it."""
    name, now = work.unit.main, datetime.now(UTC)
    if not work.wish.emergency and not rotation.is_due(work.unit, work.ground, now):
        return work.outcome("unchanged", "it is not due")
    adding = work.site.rotating_secrets.adding(name)
    what = "is due, and its provider alone can issue the next one"
    work.findings.append(Finding(severity="warning", subject=name, what=what, way_out=adding))
    return work.outcome("waiting", f"{name} {what}; add it without showing it: {adding}")
