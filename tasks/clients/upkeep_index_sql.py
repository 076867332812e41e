"""The statements that look at indexes and foreign keys, with what each needs.

Every one reads only and takes ACCESS SHARE on catalogues alone, but for the measurement of an index, which reads it
whole under ACCESS SHARE.
"""

from __future__ import annotations

#: ``shape`` is all that makes two indexes the same but the columns of their key: kind, classes, collations, order,
#: expressions, predicate, included columns. Expressions are compared as trees: ``pg_get_expr`` waits for whoever has
#: locked the table; ``indnullsnotdistinct`` is there since PostgreSQL 15. ``width`` is the mean width of an entry as
#: pg_stats knows it, NULL where it does not know a column, ``distinct`` the number of distinct keys of an index on one
#: column. ``may_maintain``: MAINTAIN is enough for a rebuild, and what a broken-off one leaves is dropped by an owner
#: alone. An exclusion constraint's cannot be rebuilt concurrently.
INDEXES = """
WITH known AS MATERIALIZED (
    SELECT schemaname, tablename, attname, avg_width, n_distinct, null_frac FROM pg_stats WHERE NOT inherited)
SELECT i.indexrelid::int8 AS oid, n.nspname || '.' || c.relname AS name,
       format('%I.%I', n.nspname, c.relname) AS quoted,
       tn.nspname || '.' || t.relname AS table_name, i.indrelid::int8 AS table_oid, m.amname AS method,
       (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns,
       concat_ws(' ', m.amname, i.indclass::text, i.indcollation::text, i.indoption::text,
                 regexp_replace(i.indexprs::text, '\\:location -?[0-9]+', '', 'g'),
                 'where ' || regexp_replace(i.indpred::text, '\\:location -?[0-9]+', '', 'g'),
                 'include ' || nullif((i.indkey::int2[])[i.indnkeyatts:]::text, '{{}}'),
                 CASE WHEN (to_jsonb(i) ->> 'indnullsnotdistinct')::boolean THEN 'nulls not distinct' END) AS shape,
       c.relpages::int8 * current_setting('block_size')::int8 AS bytes, c.relpages AS pages,
       greatest(c.reltuples, 0)::float8 AS tuples,
       w.width, CASE WHEN i.indnkeyatts = 1 AND i.indnatts = 1 THEN w.distinct_keys END AS distinct_keys,
       coalesce((SELECT split_part(o, '=', 2)::int FROM unnest(c.reloptions) o WHERE o LIKE 'fillfactor=%'), 90)
           AS fillfactor,
       i.indisunique AS is_unique,
       i.indisreplident OR i.indisclustered OR c.relispartition
           OR EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) AS is_constraint,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid) AS building,
       coalesce(pg_stat_get_numscans(c.oid), 0) AS scans, {last_scan} AS last_scan,
       pg_has_role(t.relowner, 'USAGE') AND NOT i.indisexclusion AS may_maintain
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class t ON t.oid = i.indrelid AND t.relkind IN ('r', 'm') AND t.relpersistence <> 't'
  JOIN pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_am m ON m.oid = c.relam
  LEFT JOIN LATERAL (
       SELECT CASE WHEN count(*) = count(s.attname) THEN sum(s.avg_width * (1 - s.null_frac)) END::float8 AS width,
              max(CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * greatest(t.reltuples, 0)
                       ELSE s.n_distinct END)::float8 AS distinct_keys
         FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
         LEFT JOIN pg_attribute a ON a.attrelid = CASE WHEN k.number = 0 THEN i.indexrelid ELSE i.indrelid END
              AND a.attnum = CASE WHEN k.number = 0 THEN k.place ELSE k.number END
         LEFT JOIN known s ON s.attname = a.attname
              AND s.tablename = CASE WHEN k.number = 0 THEN c.relname ELSE t.relname END
              AND s.schemaname = CASE WHEN k.number = 0 THEN n.nspname ELSE tn.nspname END) w ON true
 WHERE tn.nspname !~ '^pg_' AND tn.nspname <> 'information_schema'
 ORDER BY 2
"""
#: Since PostgreSQL 16.
LAST_SCAN = "pg_stat_get_lastscan(c.oid)"
#: Reads the index whole; no row for one that is gone. The share of its pages that a fresh build would need, in percent.
MEASURE_INDEX = """
SELECT (100.0 * x.leaf_pages * CASE WHEN x.avg_leaf_density = 'NaN' THEN 0 ELSE x.avg_leaf_density END
        / nullif((x.leaf_pages + x.empty_pages + x.deleted_pages) * CAST(:fillfactor AS float8), 0))::float8
  FROM pg_class c, LATERAL {schema}.pgstatindex(c.oid::regclass) x WHERE c.oid = CAST(:oid AS oid)
"""

#: A foreign key whose columns no valid whole index of its table begins with: a delete in the parent reads the child.
FOREIGN_KEYS_WITHOUT_INDEX = """
SELECT k.conname AS name, n.nspname || '.' || c.relname AS table_name, k.confrelid::regclass::text AS parent,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY u(number, place)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS columns,
       c.relpages::int8 * current_setting('block_size')::int8 AS bytes
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relkind = 'r'
   AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                      AND i.indnkeyatts >= cardinality(k.conkey)
                      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
 ORDER BY 2, 1
"""
