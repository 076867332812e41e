"""What is asked of a person, the form on which it is decided, and the answer.

Safety property: the decision has no default, and a question bears the digest of what its plan does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from prefect.input import RunInput
from pydantic import BaseModel, ConfigDict, Field

from tasks.forms import in_order
from tasks.models import Finding, Frozen
from tasks.policies import APPROVAL_DEADLINE

SHORTEST_DIGEST = 12

#: The parameter by which a plan is approved beforehand; for every flow that asks.
GivenApproval = Annotated[
    str,
    Field(
        pattern=rf"^([0-9a-f]{{{SHORTEST_DIGEST},64}})?$",
        description="Approve beforehand exactly the plan of this digest, as a dry run or a refused run told it; empty: "
        "ask where approval is needed",
    ),
]


class Decision(RunInput):
    """The form. The decision has no default: an empty form decides nothing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=in_order)

    decision: Literal["approve", "refuse"] = Field(
        description="approve: go on with exactly this plan. refuse: end here, nothing is changed"
    )
    reason: str = Field("", max_length=300, description="Why; kept in the ledger for good")
    name: str = Field("", max_length=80, description="Your name, for the ledger: Prefect itself knows no users")


class Question(Frozen):
    """What a person is asked.

    ``kind`` is the flow's name, or one of its own for each question of a flow that asks several. ``title`` says in a
    few words what is approved, ``plan`` is shown as Markdown, ``digest`` is the SHA-256 of what the plan does, see
    ``digest_of``.
    """

    kind: str = Field(pattern=r"^[a-z_-]+$")
    title: str
    plan: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    patience: timedelta = APPROVAL_DEADLINE

    @property
    def short(self) -> str:
        """The digest as a person copies it."""
        return self.digest[:SHORTEST_DIGEST]


class Answer(Frozen):
    """A decision: on which plan, when, by whom, and where. ``id`` tells one answer of a run from another."""

    id: str
    kind: str
    digest: str
    approved: bool
    at: datetime
    where: str
    by: str = ""
    reason: str = ""

    @property
    def words(self) -> str:
        """Who decided where, and why, in words."""
        who = f"by {self.by} {self.where}" if self.by else self.where
        return f"{who}: {self.reason}" if self.reason else who

    @property
    def finding(self) -> Finding:
        """The approval, for the report of what was done with it."""
        plan = self.digest[:SHORTEST_DIGEST]
        return Finding(severity="info", subject="approval", what=f"given {self.words}, for plan {plan}")


def digest_of(plan: BaseModel | Mapping[str, Any]) -> str:
    """The digest of what a plan does. It must hold all that a person decides on, and nothing that passes by itself."""
    data = plan.model_dump(mode="json") if isinstance(plan, BaseModel) else plan
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
