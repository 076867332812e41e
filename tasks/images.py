"""Builds a service's image from an archive in the bucket, once per source.

Safety property: a build is found again by a tag derived from the source's digest, so a killed or repeated run waits for
the build under way, or takes its image, and starts no second one; images are named by digest ever after.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks import progress
from tasks.analysis.release import build_tag
from tasks.clients.builds import FoundBuild
from tasks.estate import Service
from tasks.models import Image, SourceTree
from tasks.policies import BUILD_DEADLINE, WAIT
from tasks.site import Site

_LIVE = ("PENDING", "QUEUED", "WORKING")


@task(**WAIT)
async def build_image(site: Site, service: Service, source: SourceTree, archive: str) -> Image:
    """Give the image of a source by digest, building it where that was not done yet.

    Safe to repeat: a build is looked up by its source's tag first. Raises PermanentError with the build's last words
    when it fails.
    """
    return await asyncio.to_thread(_build_image, site, service, source, archive)


def _build_image(site: Site, service: Service, source: SourceTree, archive: str) -> Image:
    tag = build_tag(service.name, source.digest)
    found = site.builds.find(tag)
    done = _finished(found)
    if done is not None:
        progress.report("build", service.name, "the image of this source is there already", 1.0)
        return done
    name = f"{site.estate.google.repository}/{service.name}:{source.digest[:16]}"
    build = next((build.id for build in found if build.status in _LIVE), None) or site.builds.submit(
        site.bucket.name, archive, name, (tag,), service.build
    )
    return site.builds.wait(
        build, BUILD_DEADLINE, lambda status, fraction: progress.report("build", service.name, status, fraction)
    )


def _finished(found: list[FoundBuild]) -> Image | None:
    for build in found:
        if build.status == "SUCCESS" and build.digest:
            return Image(uri=build.uri, digest=build.digest, build=build.id)
    return None
