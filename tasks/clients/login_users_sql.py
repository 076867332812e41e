"""The SQL about the login users of a database.

Everything here reads catalogues that any role may read, and takes no lock but ACCESS SHARE on them. It needs
PostgreSQL 12: options of memberships that came later are read through ``to_jsonb``.
"""

ROLES = """
SELECT rolname, rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
       rolconnlimit, coalesce(rolvaliduntil::text, '') AS rolvaliduntil
  FROM pg_roles WHERE rolname = ANY(:names)
"""

MEMBERSHIPS = """
SELECT DISTINCT member.rolname AS member, role.rolname AS role, a.admin_option AS admin,
       coalesce(to_jsonb(a) ->> 'inherit_option', 'true') AS inherit,
       coalesce(to_jsonb(a) ->> 'set_option', 'true') AS set
  FROM pg_auth_members a
  JOIN pg_roles member ON member.oid = a.member
  JOIN pg_roles role ON role.oid = a.roleid
 WHERE member.rolname = ANY(:names)
"""

SETTINGS = """
SELECT r.rolname, coalesce(d.datname, '') AS datname, setting
  FROM pg_db_role_setting s
  JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 CROSS JOIN unnest(s.setconfig) AS setting
 WHERE r.rolname = ANY(:names)
"""

#: What a role was given directly, what it owns, and which policies are for it. Row types and array types follow their
#: table's owner.
GRANTS = """
WITH things AS (
  SELECT 'relation ' || c.oid::regclass AS what, c.relacl AS acl, c.relowner AS owner
    FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'column ' || attrelid::regclass || '.' || attname, attacl, 0 FROM pg_attribute WHERE attacl IS NOT NULL
  UNION ALL SELECT 'schema ' || nspname, nspacl, nspowner FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT 'database ' || datname, datacl, datdba FROM pg_database
  UNION ALL SELECT 'function ' || oid::regprocedure, proacl, proowner FROM pg_proc
  UNION ALL SELECT 'type ' || oid::regtype, typacl, typowner FROM pg_type WHERE typrelid = 0 AND typelem = 0
  UNION ALL
  SELECT 'new objects of ' || pg_get_userbyid(defaclrole) || ' of kind ' || defaclobjtype::text, defaclacl, 0
    FROM pg_default_acl
)
SELECT r.rolname, x.privilege_type || ' on ' || what || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END
       AS trait
  FROM things CROSS JOIN LATERAL aclexplode(acl) x JOIN pg_roles r ON r.oid = x.grantee
 WHERE r.rolname = ANY(:names) AND x.grantee <> owner
UNION
SELECT r.rolname, 'owner of ' || what FROM things JOIN pg_roles r ON r.oid = owner WHERE r.rolname = ANY(:names)
UNION
SELECT r.rolname, 'policy ' || polname || ' of relation ' || polrelid::regclass
  FROM pg_policy JOIN pg_roles r ON r.oid = ANY(polroles) WHERE r.rolname = ANY(:names)
"""

#: Needs no role: pid, user and application of others' sessions are shown to everybody.
SESSIONS = """
SELECT pid, usename, coalesce(application_name, '') AS application,
       coalesce(backend_start, now()) AS since
  FROM pg_stat_activity
 WHERE usename = ANY(:names) AND pid <> pg_backend_pid()
 ORDER BY pid
"""

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()"
