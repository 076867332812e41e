"""A person's approval of a plan, before what cannot be taken back: the loss of data, an outage, heavy maintenance.

A run of a deployment is suspended, and the decision is given on the form in Prefect's UI. The run holds no lock, no
slot and no process meanwhile; resumed, it begins again from its first check, as every flow may. Safety property: an
approval is bound to the digest of the plan that was shown. The resumed run makes its plan anew, and an answer to
another plan, or an old one, is void. Without an answer in time nothing is changed.
docs/decisions/0015-approvals.md gives the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID, uuid4

import httpx
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunInput
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input.actions import afilter_flow_run_input
from prefect.logging import get_run_logger
from prefect.runtime import deployment

from tasks.approval_models import Answer as Answer
from tasks.approval_models import Decision as Decision
from tasks.approval_models import GivenApproval as GivenApproval
from tasks.approval_models import Question as Question
from tasks.approval_models import digest_of as digest_of
from tasks.errors import Refused, TransientError
from tasks.models import Change
from tasks.notifications import call
from tasks.policies import APPROVAL_HOLDS, READ, REFUSAL_HOLDS
from tasks.record import record_change, tried
from tasks.runs import run_link, run_name
from tasks.site import Site

#: As Prefect names the inputs of a run: ``<state>-<key>-<part>``.
_STATE, _KEY, _RESPONSE = "suspended", "approval", "response"
_MOST_INPUTS = 200
MOST_LINES = 200

#: Asks the person who waits at the terminal; None where nobody answered in time.
Asker = Callable[[Question], Awaitable[Decision | None]]
_askers: list[Asker] = []


def ask_here(asker: Asker) -> Callable[[], None]:
    """Have the questions of this process asked at its terminal; return the function that ends it."""
    _askers.append(asker)
    return lambda: _askers.remove(asker)


async def approve(site: Site, question: Question, given: str = "") -> Answer:
    """Return once a person has approved exactly this plan. Raises Refused in every other case; nothing is changed then.

    ``given`` is the flow's parameter ``approve``. To be called where nothing is half done: a suspended run ends here,
    gives its locks back, and begins again from the top when it is resumed.
    """
    answer = _by_parameter(question, given) or await _from_the_form(site, question) or await _ask(site, question)
    await _record(site, question, answer)
    if not answer.approved:
        raise Refused(f"{question.title}: refused {answer.words}; nothing was changed")
    return answer


def _by_parameter(question: Question, given: str) -> Answer | None:
    if not given:
        return None
    if not question.digest.startswith(given):
        raise Refused(
            f"{question.title}: refused, for approve={given} is another plan's; look at the plan again, and approve it "
            f"with approve={question.short}"
        )
    return Answer(
        id=f"parameter-{question.short}", kind=question.kind, digest=question.digest, approved=True,
        at=datetime.now(UTC), where="by the parameter approve",
    )  # fmt: skip


async def _from_the_form(site: Site, question: Question) -> Answer | None:
    """The answer that this run was resumed with; None where there is none yet, or where it is void."""
    if not deployment.id:
        return None
    answers = [answer for answer in await read_answers(run_name()) if answer.kind == question.kind]
    if not answers:
        return None
    last = answers[-1]
    if not last.approved or (last.digest == question.digest and datetime.now(UTC) - last.at < APPROVAL_HOLDS):
        return last
    return await _suspend(site, question, _void(question, last))


def _void(question: Question, last: Answer) -> str:
    why = "the plan has changed since" if last.digest != question.digest else "it is too old by now"
    return f"The approval of {last.at:%Y-%m-%d %H:%M} UTC is void: {why}. This is the plan as it is now."


@task(**READ)
async def read_answers(run: str) -> list[Answer]:
    """The answers on the form of a run, the oldest first."""
    try:
        found: list[FlowRunInput] = await afilter_flow_run_input(key_prefix=f"{_STATE}-{_KEY}-", limit=_MOST_INPUTS)
    except httpx.HTTPError as error:
        raise TransientError(
            f"reading the approvals of run {run} failed: {type(error).__name__} {error}; retrying may clear this"
        ) from error
    return [_answer(one.key, one.decoded_value, one.created) for one in found if one.key.endswith(f"-{_RESPONSE}")]


def _answer(key: str, value: Any, at: datetime | None) -> Answer:
    kind, digest, asked, _ = key.removeprefix(f"{_STATE}-{_KEY}-").rsplit("-", 3)
    form = Decision.model_validate(value)
    return Answer(
        id=asked, kind=kind, digest=digest, approved=form.decision == "approve", at=at or datetime.now(UTC),
        where="in Prefect's UI", by=form.name.strip(), reason=form.reason.strip(),
    )  # fmt: skip


async def _ask(site: Site, question: Question) -> Answer:
    if _askers:
        return await _ask_at_the_terminal(question)
    if deployment.id:
        await _refuse_what_was_asked(site, question)
        await _suspend(site, question)
    raise Refused(
        f"{question.title}: needs the approval of a person, and nobody can be asked here; look at the plan, and "
        f"approve exactly that one with approve={question.short}"
    )


async def _refuse_what_was_asked(site: Site, question: Question) -> None:
    """Raise Refused where another run asks this already, or somebody refused it lately: what starts by itself goes on
    starting, and a person is asked once."""
    lines = await read_lines(site, question)
    for line in lines:
        if line.verdict == "refused":
            raise Refused(
                f"{question.title}: {line.after.get('by') or 'somebody'} refused this very plan at "
                f"{line.at:%Y-%m-%d %H:%M} UTC; change it, or approve it all the same with approve={question.short}"
            )
        if line.verdict == "started" and line.run != run_name() and await is_waiting(line.run):
            raise Refused(f"{question.title}: another run asks this already; decide there: {run_link(line.run)}")


@task(**READ)
async def read_lines(site: Site, question: Question) -> list[Change]:
    """What the ledger knows of a question's plan since yesterday, the newest first."""
    found = await asyncio.to_thread(lambda: site.ledger.changes("approval", question.kind, limit=MOST_LINES))
    since, project = datetime.now(UTC) - REFUSAL_HOLDS, site.estate.google.project
    return [
        line for line in found
        if line.at > since and line.inputs.get("project") == project and line.inputs.get("digest") == question.digest
    ]  # fmt: skip


@task(**READ)
async def is_waiting(run: str) -> bool:
    """Whether a run still waits for a person."""
    try:
        async with get_client() as client:
            state = (await client.read_flow_run(UUID(run))).state
    except ObjectNotFound:
        return False
    except httpx.HTTPError as error:
        raise TransientError(
            f"reading run {run} failed: {type(error).__name__} {error}; retrying may clear this"
        ) from error
    return bool(state and state.is_paused())


async def _ask_at_the_terminal(question: Question) -> Answer:
    form = await _askers[-1](question)
    if form is None:
        raise Refused(f"{question.title}: nobody decided in time; nothing was changed; run it again")
    return Answer(
        id=uuid4().hex, kind=question.kind, digest=question.digest, approved=form.decision == "approve",
        at=datetime.now(UTC), where="at the terminal", by=form.name, reason=form.reason,
    )  # fmt: skip


async def _suspend(site: Site, question: Question, note: str = "") -> NoReturn:
    """Write the question down, call for somebody, and end this process; the form resumes the run."""
    asked = uuid4().hex
    inputs = {"digest": question.digest, "plan": question.plan, "note": note}
    await _write(site, question, f"{asked}/asked", "started", inputs, {})
    body = note or f"plan {question.short}; open the run and press Resume"
    told = await tried("notification", call(site, f"approval needed: {question.title}", body))
    for finding in told:
        get_run_logger().warning("nobody was called: %s", finding.what)
    form = Decision.with_initial_data(description="\n\n".join(filter(None, (note, question.plan))))
    key = f"{_KEY}-{question.kind}-{question.digest}-{asked}"
    await asuspend_flow_run(wait_for_input=form, timeout=int(question.patience.total_seconds()), key=key)
    raise AssertionError("a suspended run went on")


async def _record(site: Site, question: Question, answer: Answer) -> None:
    after = answer.model_dump(mode="json", exclude={"kind", "digest", "approved"})
    verdict = "approved" if answer.approved else "refused"
    await _write(site, question, f"{answer.id}/decided", verdict, {"digest": answer.digest}, after)


async def _write(
    site: Site, question: Question, key: str, verdict: str, inputs: dict[str, Any], after: dict[str, Any]
) -> None:
    await record_change(
        site, "approval", question.kind, question.title, verdict, f"approval/{run_name()}/{key}", inputs, {}, after
    )
