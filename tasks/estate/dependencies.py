"""The section ``[dependencies]`` of an estate: whose locks are updated, how, and where the result is put.

Safety property: what is the bolder choice is off unless the file says so: merging, building packages, and testing
where the tests cannot be shut off.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tasks.estate.surroundings import SecretName
from tasks.models import Frozen

Folder = Annotated[str, StringConstraints(pattern=r"^(\.|[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)$")]
File = Annotated[str, StringConstraints(pattern=r"^\.?[A-Za-z0-9_][A-Za-z0-9._-]*(/\.?[A-Za-z0-9_][A-Za-z0-9._-]*)*$")]
Branch = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]


class Manifest(Frozen):
    """One lock of the repository, and the command that tests what it installs, run in its folder.

    ``kind``: ``uv`` has a ``uv.lock``, ``npm`` a ``package-lock.json``, ``requirements`` a ``requirements.in`` that is
    compiled into ``requirements.txt`` with ``options``.
    """

    folder: Folder = "."
    kind: Literal["uv", "npm", "requirements"] = "uv"
    test: tuple[str, ...] = Field(min_length=1)
    options: tuple[str, ...] = ()


class Forge(Frozen):
    """Where the pull request is opened. ``token_secret`` names the secret with its token, which git uses too."""

    api: str = Field("https://api.github.com", pattern=r"^https?://[^@\s]+$")
    repository: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    token_secret: SecretName


class Dependencies(Frozen):
    """The repository and the rules of its updates.

    ``repository`` is a git URL, or a folder relative to the estate file. ``cooldown_days``: releases that are younger
    are not taken, unless they mend a known vulnerability.
    """

    repository: str = Field(min_length=1)
    branch: str = ""
    update_branch: Branch = "caretaker/dependencies"
    manifests: tuple[Manifest, ...] = Field(min_length=1)
    test_timeout_seconds: int = Field(1800, ge=1, le=6 * 3600)
    cooldown_days: int = Field(7, ge=0, le=365)
    held_back: File = ".caretaker/held-back.toml"
    held_back_days: int = Field(30, ge=1, le=365)
    reruns: int = Field(1, ge=1, le=5)
    advisories: str = Field("https://api.osv.dev", pattern=r"^(https?://[^@\s]+)?$")
    require_sandbox: bool = False
    allow_builds: bool = False
    merge: bool = False
    forge: Forge | None = None

    @model_validator(mode="after")
    def _apart(self) -> Dependencies:
        if self.repository.startswith("http") and "@" in self.repository:
            raise ValueError("the repository's URL holds credentials; put the token into forge.token_secret")
        if self.branch == self.update_branch:
            raise ValueError("update_branch must be another branch than branch")
        if len({one.folder for one in self.manifests}) != len(self.manifests):
            raise ValueError("two manifests have the same folder")
        return self
