-- The statements of the PostgreSQL store. {NAME} stands for one of the statements before it.
--
-- The server does not know how many rows a JSON array has, and takes tables that have just grown for
-- small. What is looked up by key is asked for so that there is no other plan: by `ANY (ARRAY(...))`
-- and `LATERAL (... OFFSET 0)`.

-- name: asked
-- What is asked about; `n` is its place among all.
asked AS (
    SELECT * FROM jsonb_to_recordset(%(asked)s::jsonb) AS asked (
        n integer, liquidation_id bigint, account_id text, liquidator_id text, request_id text
    )
)

-- name: asked_accounts
-- Their accounts: those that are named, and those of the liquidations that are.
SELECT asked.account_id FROM asked WHERE asked.account_id IS NOT NULL
UNION ALL
SELECT stored.account_id FROM liquidation AS stored
WHERE stored.liquidation_id = ANY (ARRAY(SELECT asked.liquidation_id FROM asked))

-- name: states
WITH {asked}, moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT found.account_id, found.close_time IS NOT NULL, found.snapshot,
       EXISTS (SELECT 1 FROM liquidation AS own
               WHERE own.account_id = asked.liquidator_id AND own.close_time IS NULL OFFSET 0),
       active.claim_id, active.expire_time, moment.now, account.completed_revision
FROM asked CROSS JOIN moment
LEFT JOIN LATERAL (
    SELECT * FROM liquidation WHERE liquidation.liquidation_id = asked.liquidation_id OFFSET 0
) AS found ON true
LEFT JOIN LATERAL (
    SELECT * FROM account
    WHERE account.account_id = coalesce(asked.account_id, found.account_id) OFFSET 0
) AS account ON true
LEFT JOIN LATERAL (
    SELECT * FROM claim
    WHERE claim.account_id = coalesce(asked.account_id, found.account_id)
      AND claim.state = 'ACTIVE' AND claim.expire_time > moment.now LIMIT 1
) AS active ON true
ORDER BY asked.n

-- name: insert_accounts
WITH {asked}
INSERT INTO account (account_id)
SELECT account_id FROM asked WHERE account_id IS NOT NULL ORDER BY account_id
ON CONFLICT DO NOTHING

-- name: lock_accounts
WITH {asked}
SELECT account.account_id FROM account WHERE account.account_id = ANY (ARRAY({asked_accounts}))
ORDER BY account.account_id FOR UPDATE

-- name: stored_liquidations
WITH {asked}
SELECT liquidation_id, account_id, close_time IS NOT NULL, snapshot FROM liquidation
WHERE liquidation_id = ANY (ARRAY(SELECT asked.liquidation_id FROM asked))

-- name: sent_liquidations
jsonb_to_recordset(%(rows)s::jsonb) AS sent (
    liquidation_id bigint, account_id text, revision bigint, snapshot jsonb, request_id text
)

-- name: request_id_is_new
-- A request that got its claim before stores nothing again.
NOT EXISTS (SELECT 1 FROM claim WHERE claim.request_id = sent.request_id OFFSET 0)

-- name: store_liquidations
INSERT INTO liquidation AS stored (liquidation_id, account_id, revision, snapshot, open_time)
SELECT liquidation_id, account_id, revision, snapshot, clock_timestamp() FROM {sent_liquidations}
WHERE {request_id_is_new}
ORDER BY liquidation_id
ON CONFLICT (liquidation_id) DO UPDATE
SET revision = excluded.revision, snapshot = excluded.snapshot
WHERE stored.account_id = excluded.account_id AND stored.close_time IS NULL
  AND stored.revision < excluded.revision
RETURNING liquidation_id

-- name: get_liquidation
SELECT snapshot FROM liquidation
WHERE liquidation_id = %(liquidation_id)s AND close_time IS NULL

-- name: close_liquidation
WITH active AS (
    SELECT claim_id, expire_time, clock_timestamp() AS now FROM claim
    WHERE liquidation_id = %(liquidation_id)s
      AND state = (SELECT 'ACTIVE') AND expire_time > clock_timestamp()
), closed AS (
    UPDATE liquidation SET close_time = clock_timestamp()
    WHERE liquidation_id = %(liquidation_id)s AND close_time IS NULL
      AND NOT EXISTS (SELECT 1 FROM active)
    RETURNING snapshot
)
SELECT closed.snapshot, active.claim_id, active.expire_time, active.now
FROM (SELECT 1) AS one LEFT JOIN closed ON true LEFT JOIN active ON true

-- name: claim_columns
-- The server's clock is read with the claim: by it a lease has run out, or has not.
claim.fencing_token, claim.claim_id, claim.request_id, claim.account_id, claim.terms,
claim.positions, claim.revision, claim.state, claim.end_reason,
claim.begin_time, claim.expire_time, claim.end_time, clock_timestamp()

-- name: known_requests
WITH {asked}
SELECT {claim_columns}, claim.decision FROM claim
WHERE claim.request_id = ANY (ARRAY(SELECT asked.request_id FROM asked))

-- name: count_active
SELECT count(*) FROM claim WHERE state = 'ACTIVE' AND expire_time > clock_timestamp()

-- name: set_expired
UPDATE claim SET state = 'EXPIRED', end_time = expire_time, end_reason = '{lease_ran_out}'

-- name: note_expired
noted AS (
    INSERT INTO claim_event (fencing_token, change, time, expire_time, reason, forced)
    SELECT fencing_token, 'expire', end_time, expire_time, end_reason, false FROM over
)
SELECT * FROM over

-- name: expire_accounts
WITH {asked}, over AS (
    {set_expired}
    WHERE account_id = ANY (ARRAY({asked_accounts})) AND state = 'ACTIVE'
      AND expire_time <= clock_timestamp()
    RETURNING {claim_columns}
), {note_expired}

-- name: expire_some
-- Those that others are at are theirs.
WITH over AS (
    {set_expired}
    WHERE fencing_token = ANY (ARRAY(
        SELECT fencing_token FROM claim
        WHERE end_time IS NULL AND expire_time <= (SELECT clock_timestamp())
        LIMIT %(most)s FOR UPDATE SKIP LOCKED
    )) AND state = (SELECT 'ACTIVE') AND expire_time <= clock_timestamp()
    RETURNING {claim_columns}
), {note_expired}

-- name: write_something
-- A commit that has nothing to write waits for no disk and for no standby: this one has, so that the
-- background, which expires claims all the time, finds out whether writes are taken.
SELECT 1 FROM account LIMIT 1 FOR KEY SHARE SKIP LOCKED

-- name: sent_changes
sent AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS sent (
        n integer, claim_id text, token bigint, lease_us bigint, state text, reason text
    )
)

-- name: lock_accounts_of_claims
WITH {sent_changes}
SELECT account_id FROM account
WHERE account_id = ANY (ARRAY(
    SELECT account_id FROM claim
    WHERE claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))
))
ORDER BY account_id FOR UPDATE

-- name: change_claims
-- Of several changes to one claim one is applied; the others find it changed. An account has one
-- active claim, so that one at most completes. `(SELECT 'ACTIVE')` is no constant, for which the
-- planner would go through the index of all active claims.
WITH {sent_changes}, moment AS MATERIALIZED (SELECT clock_timestamp() AS now), changed AS (
    UPDATE claim SET
        state = coalesce(sent.state, claim.state),
        end_time = CASE WHEN sent.state IS NOT NULL THEN now END,
        end_reason = coalesce(sent.reason, claim.end_reason),
        expire_time = coalesce(now + sent.lease_us * interval '1 microsecond',
                               claim.expire_time)
    FROM sent CROSS JOIN moment
    WHERE claim.claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))
      AND claim.claim_id = sent.claim_id
      AND (sent.token IS NULL OR claim.fencing_token = sent.token)
      AND claim.state = (SELECT 'ACTIVE') AND claim.expire_time > now
    RETURNING sent.n, now, sent.token IS NULL AS forced, {claim_columns}
), settled AS (
    UPDATE account
    SET completed_revision = greatest(coalesce(account.completed_revision, 0), changed.revision)
    FROM changed
    WHERE changed.state = 'COMPLETED' AND account.account_id = changed.account_id
), noted AS (
    INSERT INTO claim_event (fencing_token, change, time, expire_time, reason, forced)
    SELECT fencing_token,
           CASE state WHEN 'ACTIVE' THEN 'renew' WHEN 'COMPLETED' THEN 'complete'
                      ELSE 'cancel' END,
           now, expire_time, end_reason, forced
    FROM changed
)
SELECT n FROM changed

-- name: changed_claims
WITH {sent_changes}
SELECT {claim_columns} FROM claim WHERE claim.claim_id = ANY (ARRAY(SELECT sent.claim_id FROM sent))

-- name: purge_claims
DELETE FROM claim WHERE fencing_token IN (
    SELECT fencing_token FROM claim
    WHERE end_time
        < (SELECT clock_timestamp() - %(retention_us)s * interval '1 microsecond')
    LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
RETURNING 1

-- name: insert_claims
-- In the order of the request_ids, as accounts are locked in theirs: of a request_id that is there
-- already, it is waited for whether that is committed.
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now), begun AS (
    INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms,
                       positions, decision, state, begin_time, expire_time)
    SELECT claim_id, request_id, account_id, liquidation_id, revision, terms, positions,
           decision, 'ACTIVE', now, now + lease_us * interval '1 microsecond'
    FROM moment CROSS JOIN jsonb_to_recordset(%(rows)s::jsonb) AS sent (
        claim_id text, request_id text, account_id text, liquidation_id bigint, revision bigint,
        terms jsonb, positions jsonb, decision jsonb, lease_us bigint
    )
    ORDER BY request_id
    ON CONFLICT DO NOTHING
    RETURNING claim_id, fencing_token, begin_time, expire_time
), noted AS (
    INSERT INTO claim_event (fencing_token, change, time, expire_time, reason, forced)
    SELECT fencing_token, 'begin', begin_time, expire_time, '', false FROM begun
)
SELECT claim_id, fencing_token, begin_time, expire_time FROM begun

-- name: create_versions
-- The table of the versions, which every step adds its row to.
CREATE TABLE IF NOT EXISTS liquidation_schema (
    version        integer PRIMARY KEY,
    oldest_service integer NOT NULL,
    applied_time   timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: schema_state
-- The version of the schema, and the oldest service that can work on it.
SELECT version, oldest_service FROM liquidation_schema ORDER BY version DESC LIMIT 1

-- name: server
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_database() AS database,
       coalesce(current_schema(), '') AS schema,
       current_user AS "user",
       pg_is_in_recovery() AS standby,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync') = 'on' AS fsync,
       current_setting('full_page_writes') = 'on' AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS synchronous_standby_names

-- name: standbys
SELECT coalesce(application_name, '') AS name, coalesce(state, '') AS state,
       coalesce(sync_state, '') AS sync_state
FROM pg_stat_replication ORDER BY application_name

-- name: missing_privileges
SELECT privilege || ' on ' || name
FROM unnest(%s::text[], %s::text[]) AS needed (name, privilege)
WHERE NOT coalesce(has_table_privilege(to_regclass(quote_ident(name)), privilege), false)

-- name: bound_count
SELECT set_config('statement_timeout', %s, true), set_config('DateStyle', 'ISO', true)

-- name: stats
SELECT open_liquidations, closed_liquidations, active, overdue, completed, cancelled, expired,
       oldest_end
FROM (SELECT count(*) FILTER (WHERE close_time IS NULL) AS open_liquidations,
             count(*) FILTER (WHERE close_time IS NOT NULL) AS closed_liquidations
      FROM liquidation) AS liquidations,
     (SELECT count(*) FILTER (WHERE state = 'ACTIVE' AND expire_time > now) AS active,
             count(*) FILTER (WHERE state = 'ACTIVE' AND expire_time <= now) AS overdue,
             count(*) FILTER (WHERE state = 'COMPLETED') AS completed,
             count(*) FILTER (WHERE state = 'CANCELLED') AS cancelled,
             count(*) FILTER (WHERE state = 'EXPIRED') AS expired,
             min(end_time) AS oldest_end
      FROM claim CROSS JOIN (SELECT clock_timestamp() AS now) AS moment) AS claims

-- name: table_sizes
-- With their indexes.
SELECT name, pg_total_relation_size(to_regclass(quote_ident(name)))
FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL

-- name: copy_settings
-- A commit that is acknowledged must be as durable as the service's own. However long the rows take,
-- no timeout of the role or of the database may end it.
SELECT set_config('lock_timeout', %s, true),
       set_config('DateStyle', 'ISO', true),
       set_config('synchronous_commit',
                  CASE WHEN current_setting('synchronous_commit') = 'remote_apply'
                       THEN 'remote_apply' ELSE 'on' END, true),
       (SELECT count(set_config(name, '0', true)) FROM pg_settings
        WHERE name IN ('statement_timeout', 'transaction_timeout',
                       'idle_in_transaction_session_timeout'))

-- name: copy_lock
-- Readers go on, and see an empty store until the commit. Who writes waits.
LOCK TABLE account, liquidation, claim, claim_event IN EXCLUSIVE MODE

-- name: tables_with_rows
SELECT name FROM (VALUES ('accounts', EXISTS (SELECT FROM account)),
                         ('liquidations', EXISTS (SELECT FROM liquidation)),
                         ('claims', EXISTS (SELECT FROM claim)),
                         ('events of claims', EXISTS (SELECT FROM claim_event))
                 ) AS found (name, has) WHERE has

-- name: liquidations
SELECT liquidation_id, snapshot FROM liquidation
WHERE close_time IS NULL AND liquidation_id > %(after)s
ORDER BY liquidation_id LIMIT %(size)s

-- name: liquidations_of_account
SELECT liquidation_id, snapshot FROM liquidation
WHERE close_time IS NULL AND liquidation_id > %(after)s AND account_id = %(account_id)s
ORDER BY liquidation_id LIMIT %(size)s
