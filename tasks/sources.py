"""Where a release's code comes from: a folder, or a git repository at a ref.

Safety property: reading a source changes nothing outside the scratch folder; the archive of a source is the same bytes
whenever the source is the same, so its digest names it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from prefect import task

from tasks.analysis.release import archive_object
from tasks.clients.git_repository import login_settings
from tasks.clients.source_archive import archive, read_tree, words_of_archive
from tasks.clients.source_git import checkout
from tasks.errors import Missing
from tasks.estate import Service
from tasks.followed import repository_token, repository_url, source_of
from tasks.models import SourceTree
from tasks.policies import READ, WRITE
from tasks.site import Site


@task(**READ)
async def fetch_source(site: Site, source: str, ref: str) -> Path:
    """Give the folder that holds the estate's source: the estate's own, the one named, or a checkout of a git URL.

    A ref without a source is one of the estate's repository. Raises BadInput when the folder, the repository or the ref
    does not exist.
    """
    return await asyncio.to_thread(_fetch, site, source, ref)


def _fetch(site: Site, source: str, ref: str) -> Path:
    scratch = site.settings.state / "sources"
    if source or not ref:
        return checkout(source, ref, site.estate.folder, scratch)
    url = repository_url(site)
    root = checkout(url, ref, site.estate.folder, scratch, login_settings(url, repository_token(site)))
    return root / source_of(site).folder


@task(**READ)
async def read_source(site: Site, service: Service, root: Path) -> SourceTree:
    """Read a service's source and its digest. Raises BadInput where it could not be built."""
    return await asyncio.to_thread(read_tree, root / service.source, service.name, service.build)


@task(**WRITE)
async def upload_archive(site: Site, service: Service, source: SourceTree) -> str:
    """Put the source's archive into the bucket and return the object's name.

    Safe to repeat: the object is named by its digest and written only where it does not exist.
    """
    name = archive_object(service.name, source.digest)
    if not await asyncio.to_thread(site.bucket.exists, name):
        data = await asyncio.to_thread(archive, Path(source.path), source.digest)
        await asyncio.to_thread(site.bucket.put_if_absent, name, data, "application/gzip")
    return name


@task(**READ)
async def words_of_release(site: Site, service: str, digest: str) -> frozenset[str] | None:
    """Every identifier in the source of an earlier release, migrations left out; None where it is not kept any more."""
    try:
        data = await asyncio.to_thread(site.bucket.get, archive_object(service, digest))
    except Missing:
        return None
    return await asyncio.to_thread(words_of_archive, data)
