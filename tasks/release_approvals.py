"""What a person may allow before a release: the loss of data, and errors while the old code meets the new schema.

Safety property: the digest covers every service's release, what serves now and where its schema goes. Whatever of this
is different after the approval voids it. What was not asked for is not allowed by the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tasks.analysis import planning
from tasks.approvals import Question, approve, digest_of
from tasks.errors import Refused
from tasks.record import publish_report
from tasks.release_models import ReleasePlan, ServicePlan
from tasks.reports import plan_report
from tasks.site import Site


@dataclass(frozen=True)
class Approvals:
    """What a person allowed."""

    data_loss: bool = False
    outage: bool = False
    force: bool = False


async def allowed(
    site: Site, plan: ReleasePlan, approvals: Approvals, given: str, dry_run: bool
) -> tuple[ReleasePlan, Approvals, tuple[str, ...]]:
    """Ask a person where the plan needs it; the plan, what is allowed by now, and why it must not be carried out.

    A dry run asks nobody, and tells how the plan could be approved.
    """
    needs = _needs(plan, approvals)
    if not needs:
        return plan, approvals, ()
    question = release_question(site, plan, needs)
    if dry_run:
        return plan, approvals, (*needs, f"or approve exactly this plan: approve={question.short}")
    await publish_report("deploy-plan", question.plan, question.title)
    try:
        answer = await approve(site, question, given)
    except Refused as error:
        return plan, approvals, (*needs, str(error))
    plan = plan.model_copy(update={"findings": (*plan.findings, answer.finding)})
    return plan, _with_what_was_asked(plan, approvals), ()


def release_question(site: Site, plan: ReleasePlan, needs: tuple[str, ...]) -> Question:
    """The question of a release that loses data or breaks what serves."""
    bound = {
        "flow": "deploy",
        "project": site.estate.google.project,
        "services": [_bound(item) for item in plan.services],
        "needs": list(needs),
    }
    title = f"release of {plan.estate} ({plan.reason})"
    return Question(kind="deploy", title=title, plan=plan_report(plan, needs=needs), digest=digest_of(bound))


def _bound(item: ServicePlan) -> dict[str, object]:
    schema = item.migration.model_dump(exclude={"findings"}) if item.migration else None
    return {"service": item.service, "serves": item.ground.stable, "release": item.release, "schema": schema}


def _needs(plan: ReleasePlan, approvals: Approvals) -> tuple[str, ...]:
    return planning.unsafe(plan, approve_data_loss=approvals.data_loss, approve_outage=approvals.outage)


def _with_what_was_asked(plan: ReleasePlan, approvals: Approvals) -> Approvals:
    data_loss = bool(_needs(plan, replace(approvals, outage=True)))
    outage = bool(_needs(plan, replace(approvals, data_loss=True)))
    return replace(approvals, data_loss=approvals.data_loss or data_loss, outage=approvals.outage or outage)
