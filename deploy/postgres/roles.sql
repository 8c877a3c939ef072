-- The roles of the liquidation service, with no more rights than each needs, and its schema.
--
--   psql --dbname liquidation --file deploy/postgres/roles.sql
--
-- Run it in the database of the service: by a superuser, or by the owner of that database who may also
-- create roles. It may be run again at any time, and is to be once the tables are made: only then can
-- it take away the rights that the service does not need on some of them.
--
-- Other names than these are given as --set owner=... and so on:
--   owner        owns the schema and its tables; `liquidation db migrate` alone connects as it
--   service      reads and writes rows; what the service connects as
--   schema       holds the tables
--   connections  how many the service may hold, all sidecars together
--
-- No password is set here. Each is set with \password in psql, which sends no more than its hash.

\set ON_ERROR_STOP on
\if :{?owner}
\else
    \set owner liquidation_owner
\endif
\if :{?service}
\else
    \set service liquidation
\endif
\if :{?schema}
\else
    \set schema liquidation
\endif
\if :{?connections}
\else
    \set connections 80
\endif

BEGIN;

SELECT format('CREATE ROLE %I', name)
FROM (VALUES (:'owner'), (:'service')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE :"owner" LOGIN CONNECTION LIMIT 4;
ALTER ROLE :"service" LOGIN CONNECTION LIMIT :connections;

-- Who is no superuser makes a schema only for a role that they are a member of.
SELECT format('GRANT %I TO CURRENT_USER', :'owner')
WHERE NOT pg_has_role(:'owner', 'USAGE')
\gexec

-- Nobody else reads what is in the database, or leaves something there.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"owner", :"service";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"owner";
GRANT USAGE ON SCHEMA :"schema" TO :"service";

-- The statements of the service name no schema. That of a role holds behind a pooler too, which one
-- in the URL may not.
ALTER ROLE :"owner" IN DATABASE :"DBNAME" SET search_path = :"schema";
ALTER ROLE :"service" IN DATABASE :"DBNAME" SET search_path = :"schema";

-- The tables that are there, and those that a later version of the schema brings. Their numbers are
-- given by identity columns, whose sequences need no right of their own.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA :"schema"
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";

-- Of these the service needs less. Claims alone are ever deleted, and take their events with them.
SELECT format('REVOKE %s ON %I.%I FROM %I', needless, :'schema', name, :'service')
FROM (VALUES ('liquidation_schema', 'INSERT, UPDATE, DELETE'), ('account', 'DELETE'),
             ('liquidation', 'DELETE'), ('claim_event', 'UPDATE, DELETE')) AS made (name, needless)
WHERE to_regclass(format('%I.%I', :'schema', name)) IS NOT NULL
\gexec

COMMIT;
