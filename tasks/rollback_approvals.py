"""What a person is asked before a roll-back takes the schema back, and what the approval is bound to.

Safety property: the digest covers which revisions change places, from where to where the schema goes and what is lost
by it. Whatever of this is different after the approval voids it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.approvals import Question, digest_of
from tasks.estate import Estate
from tasks.models import Frozen


class Loss(Frozen):
    """What putting one service back costs: the schema stands at ``schema_now``, the target knew ``needs``."""

    service: str
    target: str
    schema_now: str
    needs: str
    lost: str
    why: str
    """How the target failed on the schema of now."""

    @property
    def words(self) -> str:
        """The loss in one line, with the ways out."""
        return (
            f"rolling {self.service} back to {self.target} refused: it does not work on schema {self.schema_now} "
            f"({self.why}); approve_data_loss=true migrates back to {self.needs} and loses: {self.lost}; or release a "
            "mended version"
        )


def loss_question(estate: Estate, served: Mapping[str, tuple[str, str]], losses: tuple[Loss, ...]) -> Question:
    """The question of a roll-back that loses data. ``served`` tells, for each service, what serves and what would."""
    bound = {
        "flow": "roll-back",
        "project": estate.google.project,
        "services": {name: list(pair) for name, pair in served.items()},
        "losses": [loss.model_dump(exclude={"why"}) for loss in losses],
    }
    title = f"roll back {', '.join(served)} of {estate.name}, and the schema with it"
    return Question(kind="roll-back", title=title, plan=_plan(title, served, losses), digest=digest_of(bound))


def _plan(title: str, served: Mapping[str, tuple[str, str]], losses: tuple[Loss, ...]) -> str:
    lines = [f"# Approve: {title}?", "", "| service | serves now | would serve |", "| --- | --- | --- |"]
    lines += [f"| {name} | {now} | {target} |" for name, (now, target) in served.items()]
    for loss in losses:
        lines += ["", f"`{loss.target}` does not work on the schema of now: {loss.why}", ""]
        lines += [f"- The schema goes back from `{loss.schema_now}` to `{loss.needs}`, after a backup."]
        lines += [f"- **Lost:** {loss.lost}"]
    lines += ["", "Refused, nothing changes. A mended release loses nothing."]
    return "\n".join(lines)
