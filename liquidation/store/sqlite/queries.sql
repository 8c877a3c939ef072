-- The statements of the SQLite store. {NAME} stands for one of the statements before it.

-- name: claim_columns
fencing_token, claim_id, request_id, account_id, terms, positions, revision, state, end_reason,
begin_us, expire_us, end_us, lease_end_us

-- name: lease_left
-- What is left of the lease of a claim that is active, as it is after a start on this host.
CASE WHEN state <> 'ACTIVE' THEN NULL
     WHEN lease_boot = :boot THEN lease_end_us - :lease_now
     ELSE min(expire_us - :wall, lease_us) END

-- name: open_liquidation
INSERT INTO liquidation (liquidation_id, account_id, revision, snapshot, opened_us)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (liquidation_id) DO NOTHING

-- name: refresh_liquidation
UPDATE liquidation SET revision = ?, snapshot = ?
WHERE liquidation_id = ? AND account_id = ? AND closed_us IS NULL AND revision < ?

-- name: stored_liquidation
SELECT account_id, snapshot, closed_us IS NOT NULL FROM liquidation
WHERE liquidation_id = ?

-- name: get_liquidation
SELECT snapshot FROM liquidation WHERE liquidation_id = ? AND closed_us IS NULL

-- name: liquidations
SELECT snapshot FROM liquidation
WHERE closed_us IS NULL AND liquidation_id > :after
ORDER BY liquidation_id LIMIT :size

-- name: liquidations_of_account
SELECT snapshot FROM liquidation
WHERE closed_us IS NULL AND account_id = :account_id AND liquidation_id > :after
ORDER BY liquidation_id LIMIT :size

-- name: close_liquidation
UPDATE liquidation SET closed_us = :now
WHERE liquidation_id = :liquidation_id AND closed_us IS NULL
RETURNING snapshot

-- name: active_claim
SELECT claim_id, lease_end_us FROM claim
WHERE liquidation_id = :liquidation_id AND state = 'ACTIVE' AND lease_end_us > :lease_now

-- name: state
SELECT found.snapshot, found.account_id, found.revision, found.closed_us IS NOT NULL,
       EXISTS (SELECT 1 FROM liquidation AS own
               WHERE own.account_id = :liquidator_id AND own.closed_us IS NULL),
       active.claim_id, active.lease_end_us, settled.revision,
       EXISTS (SELECT 1 FROM claim WHERE request_id = :request_id)
FROM (SELECT 1)
LEFT JOIN liquidation AS found ON found.liquidation_id = :liquidation_id
LEFT JOIN claim AS active ON active.account_id = coalesce(:account_id, found.account_id)
                         AND active.state = 'ACTIVE' AND active.lease_end_us > :lease_now
LEFT JOIN settled ON settled.account_id = coalesce(:account_id, found.account_id)

-- name: insert_claim
-- Without RETURNING, with which it takes half as long again.
INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms,
                   positions, decision, state, lease_boot, lease_us, lease_end_us, begin_us,
                   expire_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'ACTIVE', ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: expire_claims
UPDATE claim SET state = 'EXPIRED', end_us = expire_us, end_reason = '{lease_ran_out}'
WHERE fencing_token IN (
    SELECT fencing_token FROM claim
    WHERE state = 'ACTIVE' AND lease_end_us <= :lease_now
      AND (:account_id IS NULL OR account_id = :account_id)
    LIMIT :most
)
RETURNING {claim_columns}

-- name: renew_claim
UPDATE claim SET lease_us = :lease_us, lease_end_us = :lease_now + :lease_us,
                 expire_us = :wall + :lease_us
WHERE claim_id = :claim_id AND fencing_token = :token
  AND state = 'ACTIVE' AND lease_end_us > :lease_now
RETURNING {claim_columns}

-- name: end_claim
UPDATE claim SET state = :state, end_us = :wall, end_reason = :reason
WHERE claim_id = :claim_id AND (:token IS NULL OR fencing_token = :token)
  AND state = 'ACTIVE' AND lease_end_us > :lease_now
RETURNING {claim_columns}

-- name: settle
INSERT INTO settled (account_id, revision) VALUES (:account_id, :revision)
ON CONFLICT (account_id) DO UPDATE SET revision = max(revision, excluded.revision)

-- name: insert_event
INSERT INTO claim_event (fencing_token, change, time_us, expire_us, reason, forced)
VALUES (?, ?, ?, ?, ?, ?)

-- name: rebase_leases
UPDATE claim SET lease_boot = :boot,
                 lease_end_us = :lease_now + min(expire_us - :wall, lease_us)
WHERE state = 'ACTIVE' AND lease_boot <> :boot

-- name: purge_claims
DELETE FROM claim WHERE fencing_token IN (
    SELECT fencing_token FROM claim WHERE end_us < :before LIMIT :most
)

-- name: probe
SELECT count(*) FROM liquidation WHERE liquidation_id = 0

-- name: stats
SELECT (SELECT count(*) FROM liquidation WHERE closed_us IS NULL),
       (SELECT count(*) FROM liquidation WHERE closed_us IS NOT NULL),
       count(*) FILTER (WHERE left_us > 0), count(*) FILTER (WHERE left_us <= 0),
       count(*) FILTER (WHERE state = 'COMPLETED'), count(*) FILTER (WHERE state = 'CANCELLED'),
       count(*) FILTER (WHERE state = 'EXPIRED'), min(end_us)
FROM (SELECT state, end_us, {lease_left} AS left_us FROM claim)

-- name: source_accounts
SELECT account_id, max(revision) FROM (
    SELECT account_id, NULL AS revision FROM liquidation
    UNION ALL SELECT account_id, NULL FROM claim
    UNION ALL SELECT account_id, revision FROM settled
)
GROUP BY account_id ORDER BY account_id

-- name: source_liquidations
SELECT liquidation_id, account_id, revision, snapshot, opened_us, closed_us
FROM liquidation ORDER BY liquidation_id

-- name: source_claims
SELECT fencing_token, claim_id, request_id, account_id, liquidation_id, revision, terms,
       positions, decision, state, begin_us, expire_us, end_us, end_reason, {lease_left} AS left_us
FROM claim ORDER BY fencing_token

-- name: source_events
SELECT event_id, fencing_token, change, time_us, expire_us, reason, forced
FROM claim_event ORDER BY event_id

-- name: source_leases
SELECT sum(left_us > 0), sum(left_us <= 0) FROM (SELECT {lease_left} AS left_us FROM claim)

-- name: highest_token
-- A token that was given once is known here, though its claim be purged.
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'claim'), 0),
           coalesce((SELECT max(fencing_token) FROM claim), 0))

-- name: known_request
SELECT {claim_columns}, decision FROM claim WHERE request_id = ?

-- name: claim_events
SELECT change, time_us, expire_us, reason, forced FROM claim_event
WHERE fencing_token = ? ORDER BY event_id

-- name: count_active
SELECT count(*) FROM claim WHERE state = 'ACTIVE' AND lease_end_us > ?
