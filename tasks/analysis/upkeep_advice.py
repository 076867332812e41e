"""What a person should do that no VACUUM does: end what holds it back, tune a flag, buy disk or a larger tier.

Safety property: advice is never acted upon. Each says what was seen and what the way out is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from tasks.analysis.days_left import MULTIXACTS, TRANSACTION_IDS
from tasks.analysis.upkeep_needs import Need
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Facts, Holder
from tasks.maintenance_models import Advice, DaysLeft

#: A transaction that is open for so long is held against whoever opened it, whether it disturbs today or not.
LONG = timedelta(hours=1)
#: A slot or a replica that holds so many transactions back.
MANY_XIDS = 1_000_000
FULL_PERCENT = 80.0
HIT_RATIO = 0.95
FORCED = 0.5
#: The ages at which autovacuum freezes a table, whatever it is switched to; and PostgreSQL's defaults of them.
FREEZES_AT = (
    (TRANSACTION_IDS, "autovacuum_freeze_max_age", 200e6), (MULTIXACTS, "autovacuum_multixact_freeze_max_age", 400e6),
)  # fmt: skip


def held_back(facts: Facts, needed: Sequence[Need]) -> Iterator[Advice]:
    """Who keeps VACUUM from removing rows."""
    blocking = {need.held_by for need in needed if need.held_by}
    for holder in facts.holders:
        if holder.words in blocking or _is_old(holder, facts):
            tables = sum(need.held_by == holder.words for need in needed)
            since = f" since {holder.since:%Y-%m-%d %H:%M:%S} UTC" if holder.since else ""
            what = f"{holder.name}{since} keeps rows from being removed" + (f" in {tables} table(s)" if tables else "")
            yield Advice(kind="vacuum held back", subject=holder.kind, what=what, way_out=holder.way_out)


def _is_old(holder: Holder, facts: Facts) -> bool:
    if holder.since is None:
        return holder.xid_age >= MANY_XIDS
    return facts.server.at - holder.since >= LONG


def tuning(facts: Facts, days_left: Sequence[DaysLeft], policy: MaintenancePolicy) -> Iterator[Advice]:
    """Flags that work against the database, and what is getting full."""
    yield from _flags(facts)
    yield from _full(facts)
    for one in days_left:
        if one.days is not None and one.days <= policy.horizon_days and not _is_kept_young(one, facts):
            yield Advice(
                kind="buy" if one.what.startswith("disk") else "tune", subject=one.what,
                what=f"{one.used_percent:.0f} % used; at today's burn it ends in {one.days:.0f} days",
                way_out=_way_out(one), severity="error" if one.days <= 30 else "warning",
            )  # fmt: skip
        elif one.days is None and one.used_percent >= policy.sequence_percent and one.what.startswith("sequence"):
            yield Advice(
                kind="tune", subject=one.what, what=f"{one.used_percent:.0f} % used; how fast is not known yet",
                way_out=_way_out(one),
            )  # fmt: skip


def _is_kept_young(one: DaysLeft, facts: Facts) -> bool:
    """Whether ids are younger than autovacuum lets them become: a busy database burns much and reaches no end."""
    for what, setting, default in FREEZES_AT:
        if one.what.startswith(what):
            return one.used < float(facts.server.settings.get(setting, default))
    return False


def _way_out(one: DaysLeft) -> str:
    if one.what.startswith("disk"):
        return "a larger disk (gcloud sql instances patch INSTANCE --storage-size), or remove what nobody reads"
    if one.what.startswith("sequence"):
        return f"widen {one.why or 'it'} to bigint in a migration while there is time"
    return "freeze the oldest tables; see what holds VACUUM back"


def _flags(facts: Facts) -> Iterator[Advice]:
    settings = facts.server.settings
    rules = (
        (settings.get("autovacuum") == "off", "autovacuum", "is off: nothing cleans up between two quarters", "on"),
        (settings.get("track_counts") == "off", "track_counts", "is off: autovacuum sees nothing", "on"),
        (
            settings.get("idle_in_transaction_session_timeout") in ("0", "0ms"), "idle_in_transaction_session_timeout",
            "is 0: a forgotten transaction holds VACUUM back for ever", "10min",
        ),
    )  # fmt: skip
    for wrong, name, what, value in rules:
        if wrong:
            way_out = f"gcloud sql instances patch INSTANCE --database-flags={name}={value}"
            yield Advice(kind="tune", subject=name, what=what, way_out=way_out, severity="info")
    forced = facts.server.checkpoints_forced or 0.0
    if forced >= FORCED:
        yield Advice(
            kind="tune", subject="max_wal_size", severity="info",
            what=f"{100 * forced:.0f} % of the checkpoints came early, forced by the log",
            way_out=f"raise it from {settings.get('max_wal_size', 'its value')}",
        )  # fmt: skip


def _full(facts: Facts) -> Iterator[Advice]:
    server = facts.server
    if server.max_connections and 100 * server.connections / server.max_connections >= FULL_PERCENT:
        yield Advice(
            kind="tune", subject="connections",
            what=f"{server.connections} of {server.max_connections} are in use",
            way_out="fewer per instance, a pooler, or a larger tier",
        )  # fmt: skip
    if server.cache_hit is not None and server.cache_hit < HIT_RATIO:
        yield Advice(
            kind="buy", subject="memory", severity="info",
            what=f"{100 * server.cache_hit:.1f} % of the blocks were found in shared_buffers",
            way_out=f"a tier with more memory than {server.tier or 'this one'}, where the statements below read much",
        )  # fmt: skip
    if server.used_bytes and server.disk_bytes and 100 * server.used_bytes / server.disk_bytes >= FULL_PERCENT:
        yield Advice(
            kind="buy", subject="disk", what=f"{100 * server.used_bytes / server.disk_bytes:.0f} % of it is used",
            way_out="a larger disk, or remove what nobody reads",
        )  # fmt: skip
