"""BigQuery's REST API over DuckDB: datasets, tables, and queries that only read."""

from __future__ import annotations

from localcloud.bigquery.api import Api
from localcloud.bigquery.catalog import Catalog
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.jobs import Jobs
from localcloud.cloud import Cloud
from localcloud.rpc import Servicer


def install(cloud: Cloud) -> list[Servicer]:
    """Set the cloud's BigQuery. It is HTTP alone: there is no servicer; ``http.application`` serves it."""
    engine = Engine(cloud.state / "bigquery")
    catalog = Catalog(cloud.store, engine)
    jobs = Jobs(cloud.store, catalog, engine)
    cloud.bigquery = Api(catalog, jobs, engine)
    cloud.tables = catalog
    engine.at_open += [catalog.remove_leftovers, jobs.remove_leftovers]
    cloud.at_stop(engine.close)
    cloud.at_stop(jobs.close)
    return []
