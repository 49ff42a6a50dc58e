"""The manifest of the schema: every object that decides what the database allows, by name, with its definition.

What this query reads is the server's catalogue; it is sent by the client and hashed there, so that nothing that can be
replaced in the database takes part. Any role may read all of it. Two manifests of one schema are equal byte for byte,
also when the one is of a copy that was restored from a dump by the same major version of PostgreSQL.
"""

import hashlib
import json
import re
from typing import Any

import psycopg

FORMAT = 1
"""Goes up with the query below: manifests of two formats cannot be compared. Such a release comes with a migration."""

# Ours are all relations but the broker's queues, which come and go, and those of the server itself.
_OURS = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgmq')"

_ROLES = """('royalty_owner', 'royalty_guard', 'audit_owner', 'settlement', 'attribution', 'portal', 'payer',
             'approver', 'auditor', 'identity')"""

_QUERY = f"""
WITH role AS (SELECT oid, rolname::text AS who FROM pg_roles UNION ALL SELECT 0, 'PUBLIC'),
relation AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS name,
           CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
                WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'f' THEN 'foreign table'
                ELSE 'type' END AS kind
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS}
),
function AS (
    -- What was installed, also where it does not belong: a schema of the server's, the broker's.
    SELECT p.*, format('%I.%s', n.nspname, regexp_replace(p.oid::regprocedure::text, '^.*\\.(?=[^.(]*\\()', '')) AS name
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_'
),
acl (kind, name, owner, given, usual) AS (
    SELECT kind, name, relowner, relacl, CASE kind WHEN 'sequence' THEN 's' ELSE 'r' END FROM relation
    WHERE kind IN ('table', 'view', 'sequence', 'foreign table')
    UNION ALL SELECT 'function', name, proowner, proacl, 'f' FROM function
    UNION ALL SELECT 'schema', nspname, nspowner, nspacl, 'n' FROM pg_namespace AS n
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL SELECT 'type', t.oid::regtype::text, t.typowner, t.typacl, 'T' FROM pg_type AS t
    JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL AND {_OURS}
    UNION ALL SELECT 'database', 'this', datdba, datacl, 'd' FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'language', lanname, lanowner, lanacl, 'l' FROM pg_language
    UNION ALL SELECT 'large object', oid::text, lomowner, lomacl, 'L' FROM pg_largeobject_metadata
)
SELECT kind || ' ' || name AS object,
       format('owner %s, %s', r.who, CASE relpersistence WHEN 'p' THEN 'permanent' ELSE 'unlogged' END)
       || CASE WHEN kind = 'view' THEN ': ' || pg_get_viewdef(c.oid) ELSE '' END
       || coalesce(', with ' || array_to_string(reloptions, ', '), '')
       || CASE WHEN relrowsecurity THEN ', row-level security' ELSE '' END
       || CASE WHEN relforcerowsecurity THEN ', forced' ELSE '' END
       || CASE WHEN kind = 'table' THEN ', replica identity ' || relreplident::text ELSE '' END
       || CASE WHEN relispartition THEN ', partition' ELSE '' END AS definition
FROM relation AS c JOIN role AS r ON r.oid = c.relowner WHERE kind NOT IN ('index', 'sequence')
UNION ALL
SELECT 'sequence ' || name,
       format('owner %s, %s from %s to %s by %s, starts %s, cache %s, cycles %s', r.who, format_type(s.seqtypid, NULL),
              s.seqmin, s.seqmax, s.seqincrement, s.seqstart, s.seqcache, s.seqcycle)
FROM relation AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid JOIN role AS r ON r.oid = c.relowner
UNION ALL
SELECT 'column ' || name || '.' || quote_ident(attname),
       format_type(atttypid, atttypmod) || ' in place ' || row_number() OVER (PARTITION BY c.oid ORDER BY attnum)
       || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
       || CASE WHEN attcollation NOT IN (0, 100) THEN ' COLLATE ' || attcollation::regcollation::text ELSE '' END
       || CASE attidentity WHEN 'a' THEN ' identity always' WHEN 'd' THEN ' identity by default' ELSE '' END
       || CASE attgenerated WHEN 's' THEN ' generated' WHEN 'v' THEN ' generated, virtual' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM relation AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE kind IN ('table', 'view', 'foreign table', 'type')
UNION ALL
SELECT 'constraint ' || coalesce(c.name, k.conrelid::regclass::text, 'type') || '.' || quote_ident(conname),
       pg_get_constraintdef(k.oid) || CASE WHEN conenforced THEN '' ELSE ' not enforced' END
FROM pg_constraint AS k LEFT JOIN relation AS c ON c.oid = k.conrelid LEFT JOIN relation AS p ON p.oid = k.confrelid
WHERE c.oid IS NOT NULL OR p.oid IS NOT NULL
UNION ALL
SELECT 'index ' || name, pg_get_indexdef(c.oid)
       || CASE WHEN indisvalid AND indisready AND indislive THEN '' ELSE ', not valid' END
       || CASE WHEN indisunique AND NOT indimmediate THEN ', deferrable' ELSE '' END
FROM relation AS c JOIN pg_index AS i ON i.indexrelid = c.oid
UNION ALL
SELECT 'trigger ' || t.tgname || ' on ' || c.name, format('enabled %s: %s', tgenabled, pg_get_triggerdef(t.oid))
FROM pg_trigger AS t JOIN relation AS c ON c.oid = t.tgrelid WHERE NOT tgisinternal
UNION ALL
-- Those of foreign keys: their names are numbers, so they are counted.
SELECT format('triggers %s on %s', tgfoid::regproc, c.name),
       string_agg(k.conname || ' enabled ' || tgenabled::text, ', ' ORDER BY k.conname)
FROM pg_trigger AS t JOIN relation AS c ON c.oid = t.tgrelid JOIN pg_constraint AS k ON k.oid = t.tgconstraint
WHERE tgisinternal GROUP BY tgfoid, c.name
UNION ALL
SELECT 'rule ' || w.rulename || ' on ' || c.name, format('enabled %s: %s', ev_enabled, pg_get_ruledef(w.oid))
FROM pg_rewrite AS w JOIN relation AS c ON c.oid = w.ev_class WHERE c.kind <> 'view' OR w.rulename <> '_RETURN'
UNION ALL
SELECT 'policy ' || y.polname || ' on ' || c.name,
       format('%s for %s to %s', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END, polcmd,
              (SELECT string_agg(r.who, ', ' ORDER BY r.who) FROM role AS r WHERE r.oid = ANY (polroles)))
       || coalesce(' using ' || pg_get_expr(polqual, polrelid), '')
       || coalesce(' with check ' || pg_get_expr(polwithcheck, polrelid), '')
FROM pg_policy AS y JOIN relation AS c ON c.oid = y.polrelid
UNION ALL
SELECT 'function ' || p.name, format('owner %s: ', r.who)
       || CASE WHEN prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END
FROM function AS p JOIN role AS r ON r.oid = p.proowner
UNION ALL
SELECT 'inheritance of ' || i.inhrelid::regclass || ' from ' || c.name, 'place ' || i.inhseqno
FROM pg_inherits AS i JOIN relation AS c ON c.oid = i.inhparent WHERE c.kind = 'table'
UNION ALL
SELECT 'schema ' || quote_ident(nspname), 'owner ' || r.who
FROM pg_namespace AS n JOIN role AS r ON r.oid = n.nspowner WHERE nspname !~ '^pg_(toast|temp)'
UNION ALL
SELECT format('grant of %s on %s %s to %s', e.privilege_type, kind, a.name, r.who),
       CASE WHEN e.is_grantable THEN 'with grant option' ELSE 'without grant option' END
FROM acl AS a CROSS JOIN LATERAL aclexplode(coalesce(given, acldefault(usual::"char", owner))) AS e
JOIN role AS r ON r.oid = e.grantee
UNION ALL
SELECT format('grant of %s on column %s.%I to %s', e.privilege_type, c.name, attname, r.who),
       CASE WHEN e.is_grantable THEN 'with grant option' ELSE 'without grant option' END
FROM relation AS c JOIN pg_attribute AS a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(attacl) AS e
JOIN role AS r ON r.oid = e.grantee
UNION ALL
SELECT format('default grant of %s on %s by %s to %s', e.privilege_type,
              defaclobjtype::text || coalesce(' in ' || quote_ident(n.nspname), ''), o.who, r.who),
       CASE WHEN e.is_grantable THEN 'with grant option' ELSE 'without grant option' END
FROM pg_default_acl AS d JOIN role AS o ON o.oid = defaclrole LEFT JOIN pg_namespace AS n ON n.oid = defaclnamespace
CROSS JOIN LATERAL aclexplode(defaclacl) AS e JOIN role AS r ON r.oid = e.grantee
UNION ALL
-- Privileges on what the server brought along, where somebody changed them.
SELECT format('privileges on %s.%s', b.class::regclass, b.name), coalesce(b.acl::text, 'as built in')
FROM (SELECT 'pg_class'::regclass AS class, oid, oid::regclass::text AS name, relacl AS acl FROM pg_class
      WHERE oid < 16384
      UNION ALL SELECT 'pg_proc'::regclass, oid, oid::regprocedure::text, proacl FROM pg_proc WHERE oid < 16384) AS b
LEFT JOIN pg_init_privs AS i ON i.classoid = b.class AND i.objoid = b.oid AND i.objsubid = 0
WHERE b.acl IS DISTINCT FROM i.initprivs
UNION ALL
SELECT 'functions of the server',
       encode(sha256(convert_to(string_agg(format('%s %s %s %s %s', oid, prolang, prosrc, prosecdef, proconfig), chr(10)
                                           ORDER BY oid), 'UTF8')), 'hex')
FROM pg_proc WHERE oid < 16384
UNION ALL
SELECT 'event trigger ' || evtname, format('enabled %s on %s for %s calls %s, owner %s', evtenabled, evtevent,
       coalesce(array_to_string(evttags, ', '), 'all'), evtfoid::regproc, r.who)
FROM pg_event_trigger AS v JOIN role AS r ON r.oid = v.evtowner
UNION ALL
SELECT 'role ' || rolname,
       concat_ws(', ', CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolsuper THEN 'superuser' END,
       CASE WHEN rolinherit THEN 'inherit' END, CASE WHEN rolcreaterole THEN 'creates roles' END,
       CASE WHEN rolcreatedb THEN 'creates databases' END, CASE WHEN rolreplication THEN 'replication' END,
       CASE WHEN rolbypassrls THEN 'sees every row' END)
FROM pg_roles WHERE rolname IN {_ROLES}
UNION ALL
SELECT format('membership of %s in %s', m.rolname, g.rolname),
       format('admin %s, inherit %s, set %s', a.admin_option, a.inherit_option, a.set_option)
FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = a.member JOIN pg_roles AS g ON g.oid = a.roleid
WHERE m.rolname IN {_ROLES} OR g.rolname IN {_ROLES}
UNION ALL
SELECT format('setting of %s for %s, %s', split_part(s, '=', 1), coalesce(r.rolname, 'every role'),
              CASE setdatabase WHEN 0 THEN 'every database' ELSE 'this database' END), substr(s, strpos(s, '=') + 1)
FROM pg_db_role_setting AS g LEFT JOIN pg_roles AS r ON r.oid = g.setrole CROSS JOIN LATERAL unnest(g.setconfig) AS s
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND (r.rolname IS NULL OR r.rolname IN {_ROLES})
UNION ALL
SELECT format('grant of %s on parameter %s to %s', e.privilege_type, parname, r.who), ''
FROM pg_parameter_acl CROSS JOIN LATERAL aclexplode(paracl) AS e JOIN role AS r ON r.oid = e.grantee
WHERE r.who = 'PUBLIC' OR r.who IN {_ROLES}
UNION ALL
-- The rest of what a superuser may bring along.
SELECT format('%s %s', o.type, o.identity), 'installed'
FROM (SELECT 'pg_cast'::regclass AS class, oid FROM pg_cast
      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
      UNION ALL SELECT 'pg_amop'::regclass, oid FROM pg_amop UNION ALL SELECT 'pg_amproc'::regclass, oid FROM pg_amproc
      UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
      UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
      UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
      UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
      UNION ALL SELECT 'pg_collation'::regclass, c.oid FROM pg_collation AS c
      UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
      WHERE t.typtype IN ('d', 'e', 'r') AND {_OURS}) AS x
CROSS JOIN LATERAL pg_identify_object(x.class, x.oid, 0) AS o
WHERE x.oid >= 16384 AND coalesce(o.schema, '') !~ '^pg_temp'
"""  # noqa: S608  (schemas and roles of ours)


def read_manifest(connection: psycopg.Connection[Any]) -> str:
    """The manifest of the database's schema now, as canonical JSON text: an object of definitions by object.

    Runs in the caller's transaction, as any role, and leaves its settings as they were.
    """
    with connection.transaction(), connection.cursor() as cursor:
        # Names are written without their schema where search_path finds them.
        before = cursor.execute("SELECT current_setting('search_path')").fetchone()
        assert before is not None
        cursor.execute("SELECT set_config('search_path', 'pg_catalog', true)")
        rows = cursor.execute(_QUERY.encode()).fetchall()
        cursor.execute("SELECT set_config('search_path', %s, true)", before)
    found: dict[str, str] = {}
    for object, raw in rows:
        definition = _settled(raw)
        # Of two objects of one name, which the server does not have, neither may hide the other.
        found[object] = f"{found[object]}; {definition}" if object in found else definition
    return json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


# Strings, quoted names and bodies of functions, which stay as they are; parentheses; the words between them.
_TOKEN = re.compile(r"""\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|[^()'"$]+|\$""", re.DOTALL)
# A column of a cast is named by its type, by the short name where there are two.
_IMPLIED_NAME = re.compile(
    r"""::(?:([a-z]+)\ AS\ (?:\1\b|"\1") | (bigint)\ AS\ int8\b | (integer)\ AS\ int4\b | (smallint)\ AS\ int2\b
    | (boolean)\ AS\ bool\b | (timestamp\ with\ time\ zone)\ AS\ timestamptz\b)""",
    re.VERBOSE,
)


def _settled(definition: str) -> str:
    """A definition as it reads after any number of dumps and restores.

    The server writes what it parsed, and parses `(a AND b) AND c` as `a AND b AND c`, and gives a value that is cast to
    a type and has no name the type's: neither changes what is meant.
    """
    definition = _IMPLIED_NAME.sub(lambda match: f"::{match[match.lastindex or 0]}", definition)
    # Every AND and every OR is in parentheses of its own, so a group is one of them or neither.
    stack: list[list[str]] = [[]]
    for match in _TOKEN.finditer(definition):
        token = match.group()
        if token == "(":
            stack.append([])
        elif token == ")" and len(stack) > 1:
            inner = stack.pop()
            stack[-1].append("(" + "".join(_flat(inner)) + ")")
        else:
            stack[-1].append(token)
    return "".join("(".join("".join(part) for part in stack))


def _flat(parts: list[str]) -> list[str]:
    """The contents of a pair of parentheses without those around operands that have the same connective."""
    for word in (" AND ", " OR "):
        if any(_is(part, word) for part in parts):
            return [
                part[1:-1]
                if part.startswith("(")
                and (at == 0 or parts[at - 1].endswith(word))
                and (at == len(parts) - 1 or parts[at + 1].startswith(word))
                and _connective(part) == word
                else part
                for at, part in enumerate(parts)
            ]
    return parts


def _is(part: str, word: str) -> bool:
    return part[0] not in "('\"$" and word in part


def _connective(group: str) -> str | None:
    """What connects the operands of a group in parentheses, if they are connected."""
    depth = 0
    outside = ""
    for match in _TOKEN.finditer(group[1:-1]):
        token = match.group()
        depth += (token == "(") - (token == ")")
        outside += token if depth == 0 and token[0] not in "('\"$" else ""
    return next((word for word in (" AND ", " OR ") if word in outside), None)


def server_version(connection: psycopg.Connection[Any]) -> str:
    """Major version of the server: another one may write the same definition in other words."""
    return str(connection.info.server_version // 10_000)


def fingerprint(manifest: str) -> bytes:
    """SHA-256 of a manifest's UTF-8 bytes."""
    return hashlib.sha256(manifest.encode()).digest()


def differences(recorded: str, found: str) -> list[str]:
    """What differs between two manifests, each object named in one line; empty if they are equal."""
    old: dict[str, str] = json.loads(recorded)
    new: dict[str, str] = json.loads(found)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"{name} is missing")
        elif name not in old:
            lines.append(f"{name} is new")
        elif old[name] != new[name]:
            lines.append(f"{name} is changed{_short(old[name], new[name])}")
    return lines


def _short(old: str, new: str) -> str:
    """Where two definitions part, in at most a line."""
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    begin = max(0, at - 20)
    was, now = (" ".join(text[begin : at + 40].split()) for text in (old, new))
    return f": was '{was}', is '{now}'"
