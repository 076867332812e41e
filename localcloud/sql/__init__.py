"""Cloud SQL Admin: instances that are real PostgreSQL clusters, with databases, users, backups and operations."""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.rpc import Servicer
from localcloud.sql.backups import Backups
from localcloud.sql.control import SqlControl
from localcloud.sql.databases import Databases
from localcloud.sql.flags import Flags, Tiers
from localcloud.sql.instances import Instances
from localcloud.sql.instances_service import InstancesService
from localcloud.sql.lifecycle import Lifecycle
from localcloud.sql.operations import SqlOperations
from localcloud.sql.recovery import Recovery
from localcloud.sql.runs import Runs
from localcloud.sql.scheduler import Scheduler
from localcloud.sql.users import Users


def install(cloud: Cloud) -> list[Servicer]:
    """Set ``cloud.sql``; bring back the servers at the start, stop them at the end."""
    cloud.sql = instances = Instances(cloud)
    operations = SqlOperations(cloud)
    runs = Runs(cloud, instances)
    recovery = Recovery(cloud, instances, runs)
    backups = Backups(cloud, instances, operations, runs)
    backups.when_done = recovery.after_backup
    Lifecycle(cloud, instances, runs, recovery, operations)
    scheduler = Scheduler(instances, runs, backups, recovery)
    cloud.sql_control = SqlControl(instances, runs, backups, recovery)
    # What an unfinished operation was at work on is left to that operation, which runs again.
    cloud.at_start(lambda: instances.start_all([name for name in instances.names() if not operations.busy(name)]))
    cloud.at_start(instances.trash.empty)
    cloud.at_start(scheduler.start)
    cloud.at_stop(instances.stop_all)
    cloud.at_stop(operations.stopping.set)
    cloud.at_stop(scheduler.stop)
    services: list[Servicer] = [InstancesService(instances, runs, recovery, operations), backups, operations]
    return [*services, Databases(instances, operations), Users(instances, operations), Flags(), Tiers()]
