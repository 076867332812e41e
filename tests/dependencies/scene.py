"""A repository, an index, a forge and an advisory database of one test, and the flow over them.

Nothing here is a fake of ours: git, uv, npm and the flow are real, and so are the sockets between them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tasks.clients.npm_lock import NpmLock
from tasks.site import Site, open_site
from tests.dependencies.advisories import Advisories, advisory_database
from tests.dependencies.forge import TOKEN, ForgeServer, forge_of
from tests.dependencies.npm_registry import Registry
from tests.dependencies.package_index import LOCKED, Index, package_index
from tests.dependencies.repositories import Repository

BRANCH = "caretaker/dependencies"
#: A test command that reads what the repository says must hold; a run of it takes milliseconds.
CHECK = ("python", "check.py")
ESTATE = """name = "app"
[google]
project = "{project}"
region = "europe-west4"
local_cloud = true
bucket = "{project}-bucket"
repository = "europe-west4-docker.pkg.dev/{project}/apps"
[[services]]
name = "api"
source = "."
build = "buildpack"
[[services.probes]]
name = "page"
path = "/"
status = 200
body = "ok"
touches_database = true
[[secrets]]
name = "forge-token"
rotation = "external"
max_age_days = 90
[dependencies]
repository = "{url}"
advisories = "{advisories}"
{more}
[[dependencies.manifests]]
folder = "{folder}"
kind = "{kind}"
test = {test}
{forge}
"""


@dataclass
class Scene:
    folder: Path
    project: str
    index: Index
    advisories: Advisories
    repository: Repository
    forge: ForgeServer
    with_forge: bool = True
    more: str = ""
    kind: str = "uv"
    manifest: str = "."
    test: tuple[str, ...] = CHECK
    verdicts: list[Any] = field(default_factory=list)

    @property
    def estate(self) -> Path:
        return self.folder / "estate.toml"

    def write_estate(self) -> None:
        forge = f'[dependencies.forge]\napi = "{self.forge.url}"\nrepository = "owner/name"\n'
        forge += 'token_secret = "forge-token"'
        self.estate.write_text(
            ESTATE.format(
                project=self.project, url=self.repository.url, advisories=self.advisories.url, more=self.more,
                folder=self.manifest, kind=self.kind, test=str(list(self.test)).replace("'", '"'),
                forge=forge if self.with_forge else "",
            )
        )  # fmt: skip

    def project_of(self, *needs: str, check: str = "", allowed: str = "") -> Scene:
        """A committed Python project that needs these packages, as their old releases are."""
        self.repository.python_project(self.index, *needs, allowed=allowed)
        self.repository.write("check.py", check or "".join(f"import {need.split('>')[0]}\n" for need in needs))
        self.repository.commit("project")
        return self

    def npm_project(self, registry: Registry, *needs: str) -> None:
        """An npm project locked before anything ripe was published; its tests are ``node check.js``."""
        self.kind, self.test = "npm", ("node", "check.js")
        document = {"name": "app", "version": "1.0.0", "dependencies": dict.fromkeys(needs, "^1.0.0")}
        self.repository.write("package.json", json.dumps(document))
        self.repository.write(".npmrc", f"registry={registry.url}/\n")
        lock = NpmLock(self.repository.work)
        lock._npm("locking", "install", "--package-lock-only", "--ignore-scripts", "--before", LOCKED.isoformat())

    def token(self, value: str = TOKEN) -> Scene:
        """Put the forge's token into the local cloud's Secret Manager."""
        secrets = self.site().secrets
        if value == TOKEN:
            secrets.create_secret("forge-token")
        secrets.add_version("forge-token", SecretStr(value))
        return self

    def site(self) -> Site:
        self.write_estate()
        return open_site(self.estate)

    def update(self, **parameters: Any) -> Any:
        """Run the flow in this process; its verdict, or the error that it ended with."""
        self.write_estate()
        return self.run(**parameters)

    def run(self, **parameters: Any) -> Any:
        """The same, on the estate file as it is."""
        return asyncio.run(_update(self.estate, parameters))

    @property
    def tip(self) -> str:
        """Where our branch stands at the remote; empty where it does not exist."""
        return self.repository.branches().get(BRANCH, "")

    def locked(self, branch: str = BRANCH) -> dict[str, str]:
        """The versions of the lock on a branch."""
        from tasks.analysis.lockfiles import read_lock

        path = {"uv": "uv.lock", "npm": "package-lock.json", "requirements": "requirements.txt"}[self.kind]
        graph = read_lock(self.kind, self.repository.read(branch, path), path)  # type: ignore[arg-type]
        return {name: ", ".join(one.versions) for name, one in graph.packages.items() if one.registry}


async def _update(estate: Path, parameters: dict[str, Any]) -> Any:
    from flows.update_dependencies import UpdateDependencies, update_dependencies

    request = UpdateDependencies(estate=estate, **{"reason": "test", **parameters})
    state = await update_dependencies(request, return_state=True)
    return await state.aresult(raise_on_failure=False)


@contextmanager
def scene_in(folder: Path, project: str) -> Iterator[Scene]:
    """An empty repository, index, forge and advisory database."""
    with ExitStack() as open_:
        repository = Repository(folder)
        forge = open_.enter_context(forge_of(repository))
        index, advisories = open_.enter_context(package_index()), open_.enter_context(advisory_database())
        yield Scene(folder, project, index, advisories, repository, forge)
