"""The statements that read content and structure of a whole database, with what each costs.

Every one reads only. None sends a row to us but where rows are the answer: counting and hashing is the server's work,
so our memory does not grow with the database.
"""

from __future__ import annotations

#: The text of a row depends on these; two sessions that hash rows must agree on them.
SESSION = {
    "TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "extra_float_digits": "1",
    "bytea_output": "hex", "xmloption": "content",
    # A policy that would hide rows is an error: what a user does not see would agree with what he did not see before.
    "row_security": "off",
}  # fmt: skip

#: The tables that hold rows, largest first; of a partitioned one its partitions, with the name of its root. An unlogged
#: table is empty after any restore: nothing to compare.
TABLES = """
SELECT c.oid::int8 AS oid, n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted,
       pg_table_size(c.oid) AS bytes, coalesce(rn.nspname || '.' || r.relname, '') AS root
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
  LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace
 WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND c.relpersistence = 'p'
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'caretaker')
 ORDER BY bytes DESC, name
"""

#: One sequential scan; ACCESS SHARE. ``hashtextextended`` gives 64 bits a row; their sum does not depend on the order
#: and, unlike an exclusive or, sees a row that stands twice. ``t.*`` is the whole row also where a column is named t.
CONTENT = "SELECT count(*), coalesce(sum(hashtextextended((t.*)::text, 0)), 0)::text FROM {table} t"
#: The same by ranges of the key, up to the greatest key that the manifest saw; -1 is the range of rows without a key.
CHUNKS = """
SELECT coalesce(width_bucket({key}, CAST(:low AS numeric), CAST(:high AS numeric) + 1, {parts}), -1) AS number,
       count(*), sum(hashtextextended((t.*)::text, 0))::text
  FROM {table} t WHERE {key} <= CAST(:high AS numeric) OR {key} IS NULL GROUP BY 1 ORDER BY 1
"""
RANGE = "SELECT min({key})::text, max({key})::text FROM {table} t"
KEY_TYPE = """
SELECT t.typcategory FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = :oid AND a.attname = :key AND NOT a.attisdropped
"""

SIZE = "SELECT pg_database_size(current_database())"
#: Whether a user may read all rows of a table: the right to, also in its schema, and no policy that hides some.
MAY_READ = """
SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE')
       AND NOT row_security_active(c.oid) FROM pg_class c WHERE c.oid = CAST(:oid AS oid)
"""

#: Every sequence that fills a column of numbers: owned by it, an identity's, or named by its default.
SEQUENCES = """
SELECT n.nspname || '.' || s.relname AS name, format('%I.%I', n.nspname, s.relname) AS quoted,
       cn.nspname || '.' || c.relname || '.' || a.attname AS column_name,
       format('%I', a.attname) AS attribute, format('%I.%I', cn.nspname, c.relname) AS owner, q.seqincrement AS step
  FROM (SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
         UNION
        SELECT d.refobjid, v.adrelid, v.adnum FROM pg_depend d JOIN pg_attrdef v ON v.oid = d.objid
         WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
           AND pg_get_expr(v.adbin, v.adrelid) ~ '^nextval\\([^()]*\\)$') f
  JOIN pg_class s ON s.oid = f.sequence AND s.relkind = 'S'
  JOIN pg_namespace n ON n.oid = s.relnamespace
  JOIN pg_sequence q ON q.seqrelid = s.oid
  JOIN pg_class c ON c.oid = f.relation AND c.relkind IN ('r', 'p')
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.number
  JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory = 'N'
 WHERE q.seqincrement > 0 AND n.nspname <> 'caretaker'
 ORDER BY 1
"""
#: Served by the column's index where there is one.
SEQUENCE_STATE = """
SELECT (SELECT CASE WHEN is_called THEN last_value + {step} ELSE last_value END FROM {sequence}),
       (SELECT max({column})::int8 FROM {table})
"""

INVALID_INDEXES = """
SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND n.nspname !~ '^pg_' ORDER BY 1
"""

#: The foreign keys with the columns of both sides, as text that can be put into a statement.
FOREIGN_KEYS = """
SELECT k.conrelid::regclass::text || '.' || k.conname AS name, k.convalidated AS validated,
       format('%I.%I', n.nspname, c.relname) AS child, format('%I.%I', fn.nspname, f.relname) AS parent,
       (SELECT string_agg(format('c.%I = p.%I', a.attname, b.attname), ' AND ' ORDER BY u.position)
          FROM unnest(k.conkey, k.confkey) WITH ORDINALITY u(child, parent, position)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
          JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.parent) AS matches,
       (SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ' ORDER BY u.position)
          FROM unnest(k.conkey) WITH ORDINALITY u(child, position)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child) AS given
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 1
"""
#: A hash anti-join in ``work_mem``, on disk beyond it.
ORPHANS = "SELECT count(*) FROM {child} c WHERE {given} AND NOT EXISTS (SELECT FROM {parent} p WHERE {matches})"

AMCHECK = """
SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'amcheck'
"""
MAKE_AMCHECK = "CREATE EXTENSION IF NOT EXISTS amcheck"
MAY_CHECK = """
SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE')) FROM pg_proc p
 WHERE p.pronamespace = CAST(:schema AS regnamespace) AND p.proname IN ('verify_heapam', 'bt_index_check')
"""
#: What ``pg_amcheck`` checks by default: every heap and B-tree, the system's own and those of TOAST too.
CHECKED = """
SELECT c.oid::int8 AS oid, c.oid::regclass::text AS name, c.relkind = 'i' AS is_index, pg_relation_size(c.oid) AS bytes
  FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam LEFT JOIN pg_index i ON i.indexrelid = c.oid
 WHERE c.relpersistence <> 't'
   AND (c.relkind IN ('r', 'm', 't') AND a.amname = 'heap' OR c.relkind = 'i' AND a.amname = 'btree' AND i.indisvalid)
 ORDER BY bytes DESC, name
"""
#: ACCESS SHARE. Reads the heap and the TOAST that it points to; rows only where something is wrong.
CHECK_HEAP = """
SELECT format('block %s, item %s: %s', blkno, offnum, msg)
  FROM {schema}.verify_heapam(CAST(:oid AS oid)::regclass, on_error_stop => false, check_toast => true) LIMIT {most}
"""
#: ACCESS SHARE. ``heapallindexed`` looks for every row of the table in the index, too: one more scan of the table.
CHECK_INDEX = "SELECT {schema}.bt_index_check(CAST(:oid AS oid)::regclass, heapallindexed => true)"

HAS_BEATS = "SELECT to_regclass('caretaker.heartbeat') IS NOT NULL"
NEWEST_BEAT = "SELECT at, origin FROM caretaker.heartbeat ORDER BY at DESC LIMIT 1"

#: A share of the references by the hash of their name: the same name falls into the same share every time.
REFERENCES = """
SELECT q.name::text, q.size::int8, coalesce(q.checksum::text, '') FROM ({query}) q(name, size, checksum)
 WHERE q.name IS NOT NULL AND mod(abs(hashtextextended(q.name::text, 0) % {shares}), {shares}) = :share
"""
#: How many there are in all, and how many of them name an object.
REFERRED = "SELECT count(*), count(q.name) FROM ({query}) q(name, size, checksum)"
#: The same rows for some names: what production says today.
REFERENCES_NAMED = """
SELECT q.name::text, q.size::int8, coalesce(q.checksum::text, '') FROM ({query}) q(name, size, checksum)
 WHERE q.name::text = ANY(:names)
"""
