"""Take manifest: write down what production holds, so that the next backup can be compared with it.

When: shortly before the window in which Cloud SQL takes its backup. It reads production in one READ ONLY snapshot and
writes one object into the estate's bucket; it never changes production.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.drill_plan import chosen_database
from tasks.forms import DatabaseName, Form
from tasks.manifests import list_manifests, told, write_manifest
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class TakeManifest(Form):
    """What a person decides about a manifest."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose database is read")
    database: DatabaseName = Field("", description="The database's name in the estate; empty: the only one there is")
    dry_run: bool = Field(False, description="Name the newest manifest that there is, and take none")


@flow(name="take-manifest", flow_run_name="take manifest", timeout_seconds=2 * 3600, **SCHEDULED)
async def take_manifest(request: TakeManifest) -> Any:
    """Read what production holds and keep it."""
    site = open_site(request.estate)
    database = chosen_database(site, request.database)
    if request.dry_run:
        return told(database, await list_manifests(site, database))
    manifest = await write_manifest(site, database)
    return told(database, (manifest.taken,), manifest)
