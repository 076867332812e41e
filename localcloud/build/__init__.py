"""Cloud Build, and the images that it makes: a source archive in a bucket becomes an immutable folder with a digest.

There is no container engine: a build does what Google's Python buildpack does, with uv; a Dockerfile fails and says
why.
"""

from __future__ import annotations

from localcloud.build.builder import Builder
from localcloud.build.cloudbuild import CloudBuild
from localcloud.build.images import Images
from localcloud.build.records import Records
from localcloud.build.run_builds import RunBuilds
from localcloud.cloud import Cloud
from localcloud.rpc import Servicer


def install(cloud: Cloud) -> list[Servicer]:
    cloud.images = Images(cloud)
    records = Records(cloud)
    builder = Builder(cloud, records)
    cloud.at_start(builder.remove_leftovers)
    return [RunBuilds(builder), CloudBuild(builder, records)]
