"""Cloud SQL Admin: instances that are real PostgreSQL clusters, with databases, users, backups and operations."""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.rpc import Servicer
from localcloud.sql.backups import Backups
from localcloud.sql.databases import Databases
from localcloud.sql.flags import Flags, Tiers
from localcloud.sql.instances import Instances
from localcloud.sql.instances_service import InstancesService
from localcloud.sql.lifecycle import Lifecycle
from localcloud.sql.operations import SqlOperations
from localcloud.sql.users import Users


def install(cloud: Cloud) -> list[Servicer]:
    """Set ``cloud.sql``; bring back the servers at the start, stop them at the end."""
    cloud.sql = instances = Instances(cloud)
    operations = SqlOperations(cloud)
    backups = Backups(cloud, instances, operations)
    Lifecycle(instances, backups, operations)
    # What an unfinished operation was at work on is left to that operation, which runs again.
    cloud.at_start(lambda: instances.start_all([name for name in instances.names() if not operations.busy(name)]))
    cloud.at_stop(instances.stop_all)
    cloud.at_stop(operations.stopping.set)
    services: list[Servicer] = [InstancesService(instances, backups, operations), backups, operations]
    return [*services, Databases(instances, operations), Users(instances, operations), Flags(), Tiers()]
