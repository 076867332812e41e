"""The repository whose dependencies are updated, cloned into a scratch folder.

Safety property: nothing outside the scratch folder is changed here; a branch of ours on which somebody else worked is
refused before any work is done.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import task

from tasks.analysis.held_back import read_held, standing
from tasks.analysis.lockfiles import read_lock
from tasks.clients.git_repository import GitRepository
from tasks.clients.npm_lock import NpmLock
from tasks.clients.uv_lock import UvLock
from tasks.dependency_models import Held, LockGraph
from tasks.errors import BadInput, Missing, Refused
from tasks.estate.dependencies import Dependencies, Manifest
from tasks.models import SecretPin
from tasks.policies import READ
from tasks.site import Site

_URL = re.compile(r"^[a-z+]+://|^[\w.-]+@[\w.-]+:")
LockTool = UvLock | NpmLock


class Checkout:
    """A clone at the base branch, our branch at the remote, the locks as they are. A plain class, as ``Site`` is."""

    def __init__(self, section: Dependencies, repository: GitRepository, scratch: Path, branch: str) -> None:
        self.section, self.repository, self.scratch, self.branch = section, repository, scratch, branch
        self.now = datetime.now(UTC)
        self.base = self.commit = self.tip = ""
        self.held: tuple[Held, ...] = ()
        self.texts: dict[str, str] = {}
        self.graphs: dict[str, LockGraph] = {}

    @property
    def name(self) -> str:
        """What a person reads in the name of a step."""
        return self.branch

    @property
    def manifests(self) -> dict[str, Manifest]:
        """The manifests by folder."""
        return {one.folder: one for one in self.section.manifests}

    @property
    def cutoff(self) -> datetime:
        """Releases after this are too young: a midnight, so that two runs on one day see the same."""
        today = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=self.section.cooldown_days) if self.section.cooldown_days else self.now

    def tool(self, folder: str, tree: Path) -> LockTool:
        """The tool of a manifest, in a copy of the repository."""
        manifest = self.manifests[folder]
        if manifest.kind == "npm":
            return NpmLock(tree / folder)
        return UvLock(tree / folder, manifest.kind == "requirements", manifest.options, self.section.allow_builds)

    def lock_path(self, folder: str) -> str:
        """The path of a manifest's lock in the repository."""
        path = self.tool(folder, Path()).lock
        return path.as_posix()

    def copy(self, name: str) -> Path:
        """A fresh copy of the files at the base commit, without the repository."""
        target = self.scratch / name
        shutil.rmtree(target, ignore_errors=True)
        self.repository.export(target)
        return target

    def staying(self, folder: str) -> dict[str, str]:
        """The packages of a manifest that the held-back list keeps where they are, with their versions."""
        return {one.package: one.stays for one in self.held if one.manifest == folder}


def section_of(site: Site) -> Dependencies:
    """The estate's section. Raises BadInput where it has none."""
    if site.estate.dependencies is None:
        raise BadInput(
            f"updating the dependencies of {site.estate.name} failed: {site.estate.file.name} has no [dependencies]; "
            "see docs/runbooks/update_dependencies.md"
        )
    return site.estate.dependencies


def scratch_of(site: Site) -> Path:
    """The scratch folder of an estate's updates: by project, as their lock is, so whoever holds that owns this."""
    return (site.settings.state / "dependencies" / site.estate.google.project).resolve()


@task(**READ)
async def check_out(site: Site, branch: str) -> Checkout:
    """Clone the repository; read its locks, the held-back list, and our ``branch`` as it stands at the remote.

    Raises Refused where somebody else's commits are on our branch, BadInput for a lock or list that is not understood.
    """
    return await asyncio.to_thread(_check_out, site, branch)


def _check_out(site: Site, branch: str) -> Checkout:
    section, scratch = section_of(site), scratch_of(site)
    shutil.rmtree(scratch, ignore_errors=True)
    token = None
    if section.forge:
        token = site.secrets.access(SecretPin(secret=section.forge.token_secret, version="latest"))
    url = _url(section.repository, site.estate.folder)
    return open_checkout(section, GitRepository(url, scratch / "repository", token), scratch, branch)


def open_checkout(section: Dependencies, repository: GitRepository, scratch: Path, branch: str) -> Checkout:
    """Clone, and read what is there."""
    checkout = Checkout(section, repository, scratch, branch)
    checkout.base = repository.clone(section.branch)
    if checkout.base == branch:
        raise BadInput(f"updating {checkout.base} failed: it is update_branch too; name another one")
    checkout.commit, checkout.tip = repository.head(), repository.remote_head(branch)
    refuse_strangers(checkout)
    checkout.held = _held(checkout)
    for folder, manifest in checkout.manifests.items():
        path = checkout.lock_path(folder)
        text = repository.read(checkout.commit, path)
        if text is None:
            raise Missing(f"reading {path} of {checkout.base} failed: no such file; check [[dependencies.manifests]]")
        checkout.texts[folder] = text
        checkout.graphs[folder] = read_lock(manifest.kind, text, path)
    return checkout


def refuse_strangers(checkout: Checkout) -> None:
    """Raise Refused where our branch holds commits that are not ours: they are never overwritten."""
    found = checkout.repository.strangers(checkout.commit, checkout.tip) if checkout.tip else ()
    if found:
        raise Refused(
            f"updating {checkout.branch} refused: somebody worked on it ({'; '.join(found[:3])}); merge or "
            "close its pull request and delete the branch, then run the flow again"
        )


def _held(checkout: Checkout) -> tuple[Held, ...]:
    """What is held back: by the list of the base, and by that of our branch, which may not be merged yet."""
    path, found = checkout.section.held_back, list[Held]()
    for commit in filter(None, (checkout.commit, checkout.tip)):
        found += read_held(checkout.repository.read(commit, path) or "", path)
    return standing(found, checkout.now.date())


def _url(repository: str, folder: Path) -> str:
    return repository if _URL.match(repository) else (folder / repository).resolve().as_uri()
