"""The statements that tell what a database is made of, in PostgreSQL's own words: one per kind, (name, definition).

Each takes ACCESS SHARE locks on system catalogues only and needs no privilege. Google's own roles (``cloudsql…``) and
PostgreSQL's (``pg_…``) are left out: they differ between two instances that are both right. So are passwords, which
``pg_roles`` masks.
"""

# ruff: noqa: S608  every part of these statements is a constant of this file
from __future__ import annotations

_SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_ROLES = "r.rolname !~ '^(pg_|cloudsql)'"

_KINDS = """CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END"""
_RELATIONS = "c.relkind IN ('r', 'p', 'v', 'S', 'm', 'f') AND c.relpersistence <> 't'"

_ACL = """
SELECT {name} || ' to ' || coalesce(g.rolname, 'public'),
       string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
                  ORDER BY a.privilege_type)
  FROM {source} CROSS JOIN LATERAL aclexplode({acl}) a
  LEFT JOIN pg_roles g ON g.oid = a.grantee
 WHERE {where} AND coalesce(g.rolname, '') !~ '^(pg_|cloudsql)'
 GROUP BY 1
"""

STATEMENTS: dict[str, tuple[str, ...]] = {
    "extension": ("SELECT extname, extversion FROM pg_extension",),
    "role": (
        f"""
SELECT r.rolname,
       concat_ws(' ', CASE WHEN r.rolcanlogin THEN 'login' ELSE 'nologin' END,
                 CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
                 CASE WHEN r.rolcreaterole THEN 'createrole' END, CASE WHEN r.rolreplication THEN 'replication' END,
                 CASE WHEN r.rolbypassrls THEN 'bypassrls' END, CASE WHEN NOT r.rolinherit THEN 'noinherit' END,
                 CASE WHEN r.rolconnlimit >= 0 THEN 'connection limit ' || r.rolconnlimit END,
                 array_to_string(r.rolconfig, ', '))
  FROM pg_roles r WHERE {_ROLES}
""",
        f"""
SELECT r.rolname || ' is a member of ' || g.rolname,
       concat_ws(' ', 'member', CASE WHEN bool_or(m.admin_option) THEN 'admin' END,
                 CASE WHEN bool_or(m.inherit_option) THEN 'inherit' END,
                 CASE WHEN bool_or(m.set_option) THEN 'set' END)
  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
 WHERE {_ROLES} GROUP BY 1
""",
    ),
    "owner": (
        f"SELECT 'schema ' || n.nspname, pg_get_userbyid(n.nspowner) FROM pg_namespace n WHERE {_SCHEMAS}",
        "SELECT 'database', pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()",
        f"""
SELECT {_KINDS} || ' ' || n.nspname || '.' || c.relname, pg_get_userbyid(c.relowner)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_RELATIONS} AND {_SCHEMAS}
""",
    ),
    "grant": (
        _ACL.format(
            name=f"{_KINDS} || ' ' || n.nspname || '.' || c.relname",
            source="pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
            acl="coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner))",
            where=f"{_RELATIONS} AND {_SCHEMAS}",
        ),
        _ACL.format(
            name="'column ' || n.nspname || '.' || c.relname || '.' || t.attname",
            source="pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace",
            acl="t.attacl", where=f"t.attacl IS NOT NULL AND {_SCHEMAS}",
        ),
        _ACL.format(
            name="'schema ' || n.nspname", source="pg_namespace n",
            acl="coalesce(n.nspacl, acldefault('n', n.nspowner))", where=_SCHEMAS,
        ),
        _ACL.format(
            name="'database'", source="pg_database d", acl="coalesce(d.datacl, acldefault('d', d.datdba))",
            where="d.datname = current_database()",
        ),
        _ACL.format(
            name="'function ' || p.oid::regprocedure", source="pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace",
            acl="p.proacl", where=f"p.proacl IS NOT NULL AND {_SCHEMAS}",
        ),
        _ACL.format(
            name="'default for ' || d.defaclobjtype::text || ' of ' || pg_get_userbyid(d.defaclrole)"
            " || coalesce(' in ' || n.nspname, '')",
            source="pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace",
            acl="d.defaclacl", where="true",
        ),
    ),
    "column": (
        f"""
SELECT n.nspname || '.' || c.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                 nullif('identity ' || a.attidentity::text, 'identity '),
                 nullif('generated ' || a.attgenerated::text, 'generated '),
                 'default ' || pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
   AND {_SCHEMAS}
""",
    ),
    "constraint": (
        f"""
SELECT n.nspname || '.' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {_SCHEMAS}
""",
    ),
    "index": (
        f"""
SELECT n.nspname || '.' || c.relname,
       pg_get_indexdef(i.indexrelid)
       || CASE WHEN i.indisvalid AND i.indisready AND i.indislive THEN '' ELSE ' INVALID' END
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {_SCHEMAS}
""",
    ),
    "sequence": (
        f"""
SELECT s.schemaname || '.' || s.sequencename,
       concat_ws(' ', s.data_type, 'from', s.start_value, 'by', s.increment_by, 'to', s.max_value,
                 CASE WHEN s.cycle THEN 'cycle' END)
  FROM pg_sequences s JOIN pg_namespace n ON n.nspname = s.schemaname WHERE {_SCHEMAS}
""",
    ),
    "trigger": (
        f"""
SELECT n.nspname || '.' || c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND {_SCHEMAS}
""",
    ),
    "function": (
        f"""
SELECT p.oid::regprocedure::text, md5(coalesce(p.prosrc, '') || coalesce(p.proconfig::text, '') || p.prosecdef)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE {_SCHEMAS} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
""",
    ),
    "view": (
        f"""
SELECT n.nspname || '.' || c.relname, md5(pg_get_viewdef(c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {_SCHEMAS}
""",
    ),
    "setting": (
        """
SELECT 'of ' || coalesce(r.rolname, 'all') || CASE WHEN s.setdatabase = 0 THEN '' ELSE ' in the database' END,
       array_to_string(s.setconfig, ', ')
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
 WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
""",
    ),
    "type": (
        f"""
SELECT n.nspname || '.' || t.typname, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE {_SCHEMAS} GROUP BY 1
""",
    ),
}

#: Needs SELECT on ``alembic_version``; asked only where that table is there.
ALEMBIC = "SELECT string_agg(version_num, ', ' ORDER BY version_num) FROM alembic_version"
HAS_ALEMBIC = "SELECT to_regclass('alembic_version') IS NOT NULL"
