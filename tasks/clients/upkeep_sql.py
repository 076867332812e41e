"""The statements that look at tables, sequences, sessions and the server as a whole, with what each needs.

Every one reads only and takes ACCESS SHARE on catalogues alone: sizes are those of the last VACUUM or ANALYZE, because
pg_table_size would wait for whoever has locked a table. Whatever a right is needed for says so; without it the answer
is NULL or less, never an error.
"""

from __future__ import annotations

#: What the server makes of every session, asked before ours is made read-only.
READ_ONLY = "SELECT current_setting('transaction_read_only')"
BE_READ_ONLY = "SET default_transaction_read_only = on"

#: Of PUBLIC but for ``pg_ls_waldir`` and other databases' sizes, which pg_monitor may read.
SERVER = """
SELECT clock_timestamp() AS at, current_setting('server_version_num')::int AS version,
       pg_is_in_recovery() AS in_recovery,
       EXISTS (SELECT FROM pg_stat_wal_receiver) OR CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
            THEN pg_is_in_recovery() AND current_setting('primary_conninfo') <> '' ELSE false END AS is_replica,
       pg_has_role('pg_read_all_stats', 'USAGE') AND has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS monitors,
       session_user::text AS user,
       pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE') AS owns_database,
       (SELECT array_agg(extname::text ORDER BY extname) FROM pg_extension) AS extensions,
       pg_database_size(current_database()) AS database_bytes,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
       current_setting('max_connections')::int AS max_connections,
       (SELECT count(*) FROM pg_stat_replication) AS replicas
"""
#: Not to be asked of a server in recovery: it gives no transaction ids. The counters of a database that were never set
#: to zero have no time; those of the background writer have one, since a crash loses all of them at once.
COUNTERS = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS next_xid,
       (SELECT next_multixact_id::text::int8 FROM pg_control_checkpoint()) AS next_mxid,
       (SELECT CASE WHEN blks_hit + blks_read > 10000 THEN blks_hit::float8 / (blks_hit + blks_read) END
          FROM pg_stat_database WHERE datname = current_database()) AS cache_hit,
       greatest((SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
                (SELECT stats_reset FROM pg_stat_bgwriter)) AS stats_reset
"""
#: PostgreSQL 17 and later.
CHECKPOINTS = """
SELECT CASE WHEN num_timed + num_requested >= 20 THEN num_requested::float8 / (num_timed + num_requested) END
  FROM pg_stat_checkpointer
"""
#: pg_monitor.
USED = """
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datallowconn)
       + (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())
"""
SETTINGS = """
SELECT name, current_setting(name) AS value FROM pg_settings
 WHERE name IN ('autovacuum', 'track_counts', 'autovacuum_vacuum_scale_factor', 'autovacuum_freeze_max_age',
                'autovacuum_multixact_freeze_max_age',
                'autovacuum_vacuum_cost_delay', 'autovacuum_max_workers', 'random_page_cost', 'shared_buffers',
                'maintenance_work_mem', 'work_mem', 'max_wal_size', 'idle_in_transaction_session_timeout',
                'track_io_timing', 'block_size')
"""

#: Heap tables, materialized views and partitioned parents, and the catalogues of this database. ``{maintain}`` is the
#: right to VACUUM, which has a privilege of its own since PostgreSQL 17. pg_stats tells of readable columns
#: only, and of none where row security holds for us.
TABLES = """
WITH known AS MATERIALIZED (
    SELECT schemaname, tablename, count(*) AS columns, sum(avg_width * (1 - null_frac)) AS width
      FROM pg_stats WHERE NOT inherited OR EXISTS (
           SELECT FROM pg_class p JOIN pg_namespace m ON m.oid = p.relnamespace
            WHERE m.nspname = schemaname AND p.relname = tablename AND p.relkind = 'p')
     GROUP BY 1, 2)
SELECT c.oid::int8 AS oid, n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted,
       (c.relpages + coalesce(t.relpages, 0))::int8 * current_setting('block_size')::int8 AS bytes,
       c.relpages AS pages, c.reltuples::float8 AS tuples,
       c.relallvisible AS visible_pages, c.relkind = 'p' AS is_parent,
       coalesce(pg_stat_get_live_tuples(c.oid), 0) AS live, coalesce(pg_stat_get_dead_tuples(c.oid), 0) AS dead,
       coalesce(pg_stat_get_mod_since_analyze(c.oid), 0) AS modified,
       coalesce(pg_stat_get_ins_since_vacuum(c.oid), 0) AS inserted,
       greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)) AS vacuumed,
       greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) AS analyzed,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(age(c.relfrozenxid), age(t.relfrozenxid)) END AS xid_age,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) END AS mxid_age,
       (SELECT count(*) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget IS DISTINCT FROM 0
           AND has_column_privilege(c.oid, a.attnum, 'SELECT') AND NOT row_security_active(c.oid)
           AND EXISTS (SELECT FROM pg_type y WHERE y.oid = a.atttypid AND y.typtype <> 'p')) AS columns,
       coalesce(k.columns, 0) AS columns_known, coalesce(k.width, 0)::float8 AS row_width,
       n.nspname = 'pg_catalog' AS is_system,
       ({maintain}) AS may_maintain
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
  LEFT JOIN known k ON k.schemaname = n.nspname AND k.tablename = c.relname
 WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND NOT c.relisshared
   AND (n.nspname !~ '^pg_' OR n.nspname = 'pg_catalog') AND n.nspname <> 'information_schema'
 ORDER BY bytes DESC, name
"""
_OWNS = "pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE')"
MAY_MAINTAIN = f"has_table_privilege(c.oid, 'MAINTAIN') OR {_OWNS}"
MAY_MAINTAIN_BEFORE_17 = f"pg_has_role(c.relowner, 'USAGE') OR {_OWNS}"

#: Sequences as they count up: of one that counts down, how far it is from its beginning. ``why_unseen``: reading one's
#: last value waits for whoever has locked it, with the table that is being altered, and needs a right.
SEQUENCES = """
WITH locked AS MATERIALIZED (
    SELECT l.relation FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
     WHERE l.locktype = 'relation' AND l.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
), found AS MATERIALIZED (
    SELECT c.oid, n.nspname || '.' || c.relname AS name, q.*,
           CASE WHEN NOT has_sequence_privilege(c.oid, 'SELECT,USAGE') THEN 'no right to read it'
                WHEN c.oid IN (SELECT relation FROM locked) THEN 'somebody has locked it' END AS why_unseen
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence q ON q.seqrelid = c.oid
     WHERE n.nspname !~ '^pg_')
SELECT f.name, f.seqincrement AS step, f.seqcycle AS cycles, f.why_unseen, coalesce(o.name, '') AS column_name,
       CASE WHEN f.seqincrement > 0 THEN v.last ELSE f.seqmax - v.last END::numeric AS last,
       CASE WHEN f.seqincrement > 0 THEN f.seqmax ELSE f.seqmax::numeric - f.seqmin END AS most,
       CASE WHEN f.seqincrement < 0 THEN NULL WHEN o.type = 'int2' THEN 32767 WHEN o.type = 'int4' THEN 2147483647
            END::int8 AS type_most
  FROM found f
 CROSS JOIN LATERAL (
       SELECT CASE WHEN f.why_unseen IS NULL THEN pg_sequence_last_value(f.oid) END::numeric AS last) v
  LEFT JOIN LATERAL (
       SELECT c.oid::regclass || '.' || a.attname AS name, y.typname::text AS type
         FROM (SELECT d.refobjid AS relation, d.refobjsubid AS number FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.deptype IN ('a', 'i') AND d.objid = f.oid
                UNION
               SELECT v.adrelid, v.adnum FROM pg_depend d JOIN pg_attrdef v ON v.oid = d.objid
                WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.refobjid = f.oid) x
         JOIN pg_class c ON c.oid = x.relation
         JOIN pg_attribute a ON a.attrelid = x.relation AND a.attnum = x.number
         JOIN pg_type y ON y.oid = a.atttypid
        ORDER BY CASE y.typname WHEN 'int2' THEN 1 WHEN 'int4' THEN 2 ELSE 3 END LIMIT 1) o ON true
 WHERE v.last IS NOT NULL OR f.why_unseen IS NOT NULL
 ORDER BY 1
"""

#: What keeps rows from being removed, the oldest first. A VACUUM's own snapshot keeps nothing. Other users' sessions
#: are seen by members of pg_read_all_stats.
HOLDERS = """
SELECT 'session' AS kind, a.pid::text AS name, a.xact_start AS since,
       greatest(a.xact_start, a.query_start, CASE WHEN a.backend_xmin IS NULL THEN a.state_change END) AS holds_since,
       greatest(age(a.backend_xmin), age(a.backend_xid)) AS xid_age, coalesce(a.application_name, '') AS who,
       coalesce(a.usename::text, '') AS of_user, coalesce(a.state, '') AS state
  FROM pg_stat_activity a
 WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
   AND a.datname = current_database() AND a.backend_type = 'client backend' AND a.xact_start IS NOT NULL
   AND a.query !~* '^\\s*vacuum'
UNION ALL
SELECT 'prepared transaction', gid, prepared, prepared, age(transaction), '', owner::text, '' FROM pg_prepared_xacts
 WHERE database = current_database()
UNION ALL
SELECT 'replication slot', slot_name::text, NULL, NULL, greatest(age(xmin), age(catalog_xmin)), '', '',
       CASE WHEN active THEN 'active' ELSE 'inactive' END
  FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
UNION ALL
SELECT 'replica', coalesce(application_name, pid::text), NULL, NULL, age(backend_xmin), '', '', state
  FROM pg_stat_replication WHERE backend_xmin IS NOT NULL
 ORDER BY xid_age DESC NULLS LAST
"""

#: One in a schema that may not be used is of no use.
EXTENSION = """
SELECT quote_ident(n.nspname) AS schema, e.extversion AS version
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = :name AND has_schema_privilege(n.oid, 'USAGE')
"""
STATEMENTS_ARE_LOADED = "SELECT 1 FROM pg_settings WHERE name = 'pg_stat_statements.max'"
#: Only what is all-visible is not read; no row for a table that is gone. Needs pg_stat_scan_tables, of which
#: pg_monitor is a member.
MEASURE_TABLE = """
SELECT (x.approx_free_percent + x.dead_tuple_percent)::float8 AS free
  FROM pg_class c, LATERAL {schema}.pgstattuple_approx(c.oid::regclass) x WHERE c.oid = CAST(:oid AS oid)
"""
MAY_MEASURE = """
SELECT coalesce(bool_and(has_function_privilege(p.oid, 'EXECUTE')), false)
  FROM pg_extension e
  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass
  JOIN pg_proc p ON p.oid = d.objid
 WHERE e.extname = 'pgstattuple' AND p.proname IN ('pgstattuple_approx', 'pgstatindex')
"""

#: Top statements of this database; of other users' text only with pg_read_all_stats. ``{since}``: version 1.11.
STATEMENTS = """
SELECT queryid::text AS id, min(query) AS text, sum(calls)::int8 AS calls, sum(total_exec_time)::float8 AS total_ms,
       sum(rows)::int8 AS rows, sum(shared_blks_read)::int8 AS blocks_read, sum(shared_blks_hit)::int8 AS blocks_hit,
       {since} AS since
  FROM {schema}.pg_stat_statements
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid IS NOT NULL
   AND query !~* '^\\s*(vacuum|analyze|reindex|drop index|begin|commit|set |show )'
 GROUP BY queryid ORDER BY total_ms DESC LIMIT 300
"""
STATEMENTS_RESET = "SELECT stats_reset FROM {schema}.pg_stat_statements_info"
