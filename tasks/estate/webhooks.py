"""The sections ``[source]`` and ``[webhooks]``: which branch is released by itself, and who may say that it moved.

Safety property: nobody may say it who is not named here, with a secret of Secret Manager and the repositories that they
may speak of; no secret stands in the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tasks.estate.dependencies import Branch, Folder
from tasks.estate.surroundings import SecretName, ShortName
from tasks.models import Frozen

#: The events of GitHub that are understood; ``ping`` is answered without being asked for.
GITHUB_EVENTS = frozenset({"push", "release", "workflow_run"})
#: What the other tools send as ``type``.
DEPLOY = "deploy"
#: https://docs.github.com/en/webhooks/webhook-events-and-payloads: "Payloads are capped at 25 MB."
MOST_BODY_BYTES = 25 * 1024 * 1024

RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+$")]


class Source(Frozen):
    """Where the estate's code lives, and the branch that is released by itself.

    ``repository`` is a git URL, or a folder relative to the estate file; ``folder`` is where the estate's ``source``
    folders lie in it. No ``branch``: the repository's default one. ``token_secret`` names the secret with the token
    that git reads it with. ``deployment`` is Prefect's, as ``flow/deployment``; empty: ``deploy/`` and the estate's
    name. With ``gate = "tests"`` a push alone releases nothing: the workflow run that passed does.
    """

    repository: str = Field(min_length=1)
    branch: Branch | Literal[""] = ""
    folder: Folder = "."
    token_secret: SecretName | Literal[""] = ""
    deployment: str = Field("", pattern=r"^([^/\s]+/[^/\s]+)?$")
    gate: Literal["none", "tests"] = "none"

    @model_validator(mode="after")
    def _without_credentials(self) -> Source:
        if self.repository.startswith("http") and "@" in self.repository:
            raise ValueError("the repository's URL holds credentials; put the token into token_secret")
        return self


class Sender(Frozen):
    """One that may send: its deliveries come to ``/hooks/NAME``.

    ``github`` signs as GitHub does, ``standard`` by the Standard Webhooks specification, ``bearer`` shows a token.
    Every enabled version of ``secret`` is accepted. ``workflows`` are the files of the GitHub workflows whose success
    counts (``ci.yml``); none: each one's.
    """

    name: ShortName
    kind: Literal["github", "standard", "bearer"]
    secret: SecretName
    repositories: tuple[RepositoryName, ...] = Field(min_length=1)
    events: tuple[str, ...] = Field(default=(), validate_default=False)
    workflows: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _understood(self) -> Sender:
        known = GITHUB_EVENTS if self.kind == "github" else {DEPLOY}
        if unknown := sorted(set(self.events) - known):
            raise ValueError(f"unknown event {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return self

    @property
    def allowed(self) -> frozenset[str]:
        """The events that may release something; where none is named: a push, or a request to deploy."""
        return frozenset(self.events or (("push",) if self.kind == "github" else (DEPLOY,)))


class Webhooks(Frozen):
    """Who may send, and how much.

    ``requests_per_second`` and ``burst`` bound what one address may ask. A request that is not authentic costs as much
    as ten.
    """

    senders: tuple[Sender, ...] = Field(min_length=1)
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, le=MOST_BODY_BYTES)
    requests_per_second: float = Field(200, gt=0, le=10_000)
    burst: int = Field(400, ge=1, le=100_000)

    @model_validator(mode="after")
    def _apart(self) -> Webhooks:
        names = [sender.name for sender in self.senders]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two senders are called {', '.join(twice)}")
        return self

    def sender(self, name: str) -> Sender | None:
        """A sender by name; None where there is none of that name."""
        return next((one for one in self.senders if one.name == name), None)
