"""How the backups of a database are proved: how its content is compared, where it is restored to, what it refers to.

Safety property: a table without a rule is compared exactly. Whoever wants less says so, table by table, and the report
repeats it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tasks.models import Frozen

#: ``table`` or ``schema.table``, as the catalogue has them: ``Plots`` is the table that SQL must write ``"Plots"``.
TableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$")]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
#: https://cloud.google.com/storage/docs/buckets#naming
ObjectBucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
#: https://cloud.google.com/sql/docs/postgres/instance-settings#machine-type-2ndgen
Tier = Annotated[str, StringConstraints(pattern=r"^(db-[a-z0-9-]+)?$")]

Comparison = Literal["exact", "grows", "varies"]


class TableRule(Frozen):
    """How one table of a restored copy is compared with the manifest.

    ``exact``: the same rows. ``grows``: rows are only added, in the order of the column ``key``; what the manifest saw
    must still be there. ``varies``: rows come, go and change; their number stays within ``tolerance_percent``. The rule
    of a partitioned table is that of each of its partitions which has none of its own; what varies is their sum.
    """

    table: TableName
    compare: Comparison
    key: ColumnName | None = None
    tolerance_percent: float = Field(0, ge=0, le=100)

    @model_validator(mode="after")
    def _complete(self) -> TableRule:
        if (self.compare == "grows") != (self.key is not None):
            raise ValueError("'key' belongs to compare = \"grows\", which needs it")
        if (self.compare == "varies") != (self.tolerance_percent > 0):
            raise ValueError("'tolerance_percent' above 0 belongs to compare = \"varies\", which needs it")
        return self

    @property
    def name(self) -> str:
        """The table with its schema."""
        return self.table if "." in self.table else f"public.{self.table}"


class ManifestPolicy(Frozen):
    """What is known of production's content when a backup is taken: how old that knowledge may be, and the rules."""

    max_age_hours: int = Field(26, ge=1, le=24 * 31)
    tables: tuple[TableRule, ...] = ()

    @property
    def max_age(self) -> timedelta:
        """How much older than its backup a manifest may be."""
        return timedelta(hours=self.max_age_hours)

    def rule(self, table: str, root: str = "") -> TableRule:
        """The rule of a table, named ``schema.table``, else of its root; without one it is compared exactly."""
        rules = {rule.name: rule for rule in self.tables}
        exact = TableRule.model_construct(table=table, compare="exact", key=None, tolerance_percent=0.0)
        return rules.get(table) or rules.get(root) or exact


class ObjectReferences(Frozen):
    """Rows that refer to objects in a bucket.

    ``query`` gives three columns, in this order: the object's name, its size in bytes, and its MD5 or CRC32C (in base64
    as Cloud Storage tells it, or in hexadecimal). A NULL in the second or third is not compared.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    bucket: ObjectBucket
    query: str = Field(min_length=10)

    @model_validator(mode="after")
    def _reads(self) -> ObjectReferences:
        if not self.query.lstrip().lower().startswith(("select", "with")) or ";" in self.query:
            raise ValueError("'query' must be one SELECT without a semicolon")
        return self


class DrillPolicy(Frozen):
    """Where a copy is restored, how it is checked, and what is still good.

    ``tier`` empty: the cheapest that fits. ``jobs``: sessions that check the copy at once. ``heartbeat_minutes``: how
    much older than its backup the newest heartbeat in it may be. ``hourly_price``: of the tier, 0: from the list price.
    """

    tier: Tier = ""
    jobs: int = Field(2, ge=1, le=32)
    heartbeat_minutes: int = Field(10, ge=1, le=24 * 60)
    hourly_price: float = Field(0, ge=0)

    @property
    def heartbeat_gap(self) -> timedelta:
        """The greatest age of the newest heartbeat at the time of the backup."""
        return timedelta(minutes=self.heartbeat_minutes)
