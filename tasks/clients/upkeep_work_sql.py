"""The statements that run while a database is cared for: what an object measures, who waits for us, how far we are.

Every one reads only, but for the cancellation of our own statements. Each is short: they run every second. The comment
in them keeps them out of the latency that they measure.
"""

from __future__ import annotations

#: Before and after: what a VACUUM or ANALYZE changes of a table. By name, so that a table that is gone gives no row.
TABLE = """
SELECT /* caretaker */ pg_stat_get_dead_tuples(c.oid)::float8 AS dead_rows,
       pg_stat_get_mod_since_analyze(c.oid)::float8 AS changed_rows,
       pg_stat_get_ins_since_vacuum(c.oid)::float8 AS inserted_rows, pg_table_size(c.oid)::float8 AS bytes,
       (100 * least(1, c.relallvisible::float8 / nullif(c.relpages, 0))) AS visible_percent,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(age(c.relfrozenxid), age(t.relfrozenxid)) END::float8 AS xid_age,
       (SELECT count(*) FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
         WHERE n.oid = c.relnamespace AND s.tablename = c.relname)::float8 AS columns_known
  FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = to_regclass(:quoted)
"""
INDEX = """
SELECT /* caretaker */ pg_relation_size(c.oid)::float8 AS bytes, (i.indisvalid AND i.indisready)::int::float8 AS valid
  FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.oid = to_regclass(:quoted)
"""

#: What a broken-off REINDEX CONCURRENTLY left on a table, and nobody is building.
LEFTOVERS = """
SELECT /* caretaker */ format('%I.%I', n.nspname, c.relname) AS quoted, n.nspname || '.' || c.relname AS name
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = CAST(:oid AS oid) AND NOT (i.indisvalid AND i.indisready AND i.indislive)
   AND c.relname ~ '_cc(new|old)[0-9]*$'
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
 ORDER BY 1
"""
#: Transactions that a REINDEX CONCURRENTLY would wait for, the oldest first: those with a snapshot, and those that hold
#: any lock on the table, though they have only read it: before the old index is dropped, it waits for these too.
IN_THE_WAY = """
SELECT /* caretaker */ 'pid ' || a.pid AS name, coalesce(a.usename::text, '') AS of_user,
       coalesce(a.state, '') AS state, a.xact_start AS since
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> ALL(:ours) AND a.pid <> pg_backend_pid()
   AND a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)
   AND (a.backend_xmin IS NOT NULL OR EXISTS (
        SELECT FROM pg_locks l
         WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation' AND l.relation = CAST(:table_oid AS oid)))
UNION ALL
SELECT 'transaction ' || p.gid, p.owner::text, 'prepared', p.prepared FROM pg_prepared_xacts p
 WHERE p.database = current_database() AND EXISTS (
       SELECT FROM pg_locks l JOIN pg_locks t USING (virtualtransaction)
        WHERE l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.transactionid = p.transaction
          AND l.locktype = 'relation' AND l.relation = CAST(:table_oid AS oid))
 ORDER BY since
"""
#: Who vacuums, analyzes or indexes a table at this moment. Whoever waits for autovacuum for a second has it cancelled,
#: and what it did on the indexes is lost; https://www.postgresql.org/docs/18/routine-vacuuming.html
AT_IT_ALREADY = """
SELECT /* caretaker */ l.pid, coalesce(a.backend_type, 'somebody') AS who
  FROM pg_locks l JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.mode = 'ShareUpdateExclusiveLock'
   AND l.granted AND l.pid <> ALL(:ours) AND l.pid <> pg_backend_pid()
   AND l.relation IN (to_regclass(:quoted), CAST(:table_oid AS oid))
"""

#: Whether a session is still in the transaction that it began then. Its process may be at its next one by now.
STILL_OPEN = """
SELECT /* caretaker */ 1 FROM pg_stat_activity
 WHERE pid = :pid AND xact_start = CAST(:since AS timestamptz)
   AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
"""

#: Who is disturbed. ``blocked``: how long the session that waits longest for us has waited, also behind us in a queue;
#: locks are seen by everybody. ``lag``: how many bytes the furthest replica is behind; NULL without pg_monitor.
#: ``others``: sessions that were at work in the last seconds; without pg_read_all_stats, all of them.
DISTURBED = """
SELECT /* caretaker */
       (SELECT max(greatest(0.001, extract(epoch FROM clock_timestamp() - coalesce(l.waitstart, clock_timestamp()))))
          FROM pg_locks l
         WHERE cardinality(CAST(:ours AS int[])) > 0 AND NOT l.granted AND l.pid <> ALL(CAST(:ours AS int[]))
           AND pg_blocking_pids(l.pid) && CAST(:ours AS int[]))::float8 AS blocked,
       (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication)::float8 AS lag,
       (SELECT count(*) FROM pg_stat_activity a
         WHERE a.datname = current_database() AND a.pid <> ALL(CAST(:ours AS int[])) AND a.pid <> pg_backend_pid()
           AND coalesce(a.backend_type, 'client backend') = 'client backend'
           AND coalesce(a.application_name, '') NOT LIKE 'caretaker%'
           AND (a.state IS NULL OR a.state = 'active' OR a.state_change > clock_timestamp() - interval '5 seconds')
       ) AS others
"""
#: A small piece of work whose time tells how busy the server is, where pg_stat_statements does not.
PROBE = "SELECT /* caretaker */ count(*) FROM pg_class WHERE relpages > 0"

#: The application's statements that ran most, by calls. COMMIT is among them: it waits for the log.
MOST_WATCHED = 60
WATCHED = """
SELECT /* caretaker */ queryid::text FROM {schema}.pg_stat_statements
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid IS NOT NULL
   AND query !~* 'caretaker|^\\s*(vacuum|analyze|reindex|drop|create|copy|begin|set |show )'
 GROUP BY queryid ORDER BY sum(calls) DESC LIMIT {most}
"""
COUNTERS = """
SELECT /* caretaker */ queryid::text AS id, sum(calls)::int8 AS calls, sum(total_exec_time)::float8 AS total_ms
  FROM {schema}.pg_stat_statements(false)
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid::text = ANY(:ids)
 GROUP BY 1
"""

#: Sessions of an earlier run of ours; the caller holds the lock. Waits until each is gone, 5 s at the most. Chosen
#: first and ended then: conditions of one WHERE have no order, and it must not end itself.
END_STRAYS = """
WITH strays AS MATERIALIZED (
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE :application)
SELECT /* caretaker */ pid FROM strays WHERE pg_terminate_backend(pid, 5000)
"""

CANCEL = "SELECT /* caretaker */ pg_cancel_backend(pid) FROM unnest(CAST(:ours AS int[])) pid"

#: The column of dead rows has another name before PostgreSQL 17.
PROGRESS = """
SELECT /* caretaker */ p.pid, p.relid::regclass::text AS name, p.phase,
       CASE WHEN p.heap_blks_total > 0
            THEN (p.heap_blks_scanned + p.heap_blks_vacuumed)::float8
                 / (p.heap_blks_total + greatest(p.heap_blks_vacuumed, CASE WHEN p.dead > 0
                                                                        THEN p.heap_blks_total ELSE 0 END)) END AS done
  FROM (SELECT v.*, coalesce(to_jsonb(v) ->> 'num_dead_item_ids', to_jsonb(v) ->> 'num_dead_tuples')::int8 AS dead
          FROM pg_stat_progress_vacuum v WHERE v.pid = ANY(:ours)) p
UNION ALL
SELECT p.pid, p.relid::regclass::text, p.phase,
       CASE WHEN p.sample_blks_total > 0 THEN p.sample_blks_scanned::float8 / p.sample_blks_total END
  FROM pg_stat_progress_analyze p WHERE p.pid = ANY(:ours)
UNION ALL
SELECT p.pid, p.relid::regclass::text, p.phase,
       CASE WHEN p.blocks_total > 0 THEN p.blocks_done::float8 / p.blocks_total END
  FROM pg_stat_progress_create_index p WHERE p.pid = ANY(:ours)
"""
