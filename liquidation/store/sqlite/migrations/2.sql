-- Published: never edited; what changes later is a new file. SQLite keeps the text of a statement, so
-- that its indentation stays too.

-- AUTOINCREMENT: a token is never given twice, not even after the newest row is purged.
-- lease_end_us is on the host's boot clock `lease_boot`, all other times are wall-clock.
        CREATE TABLE claim (
            fencing_token  INTEGER PRIMARY KEY AUTOINCREMENT,
            claim_id       TEXT    NOT NULL UNIQUE,
            request_id     TEXT    NOT NULL UNIQUE,
            account_id     TEXT    NOT NULL,
            liquidation_id INTEGER NOT NULL,
            revision       INTEGER NOT NULL,
            terms          TEXT    NOT NULL,
            positions      TEXT    NOT NULL,
            decision       TEXT    NOT NULL,
            state          TEXT    NOT NULL
                CHECK (state IN ('ACTIVE', 'COMPLETED', 'CANCELLED', 'EXPIRED')),
            lease_boot     TEXT    NOT NULL,
            lease_us       INTEGER NOT NULL,
            lease_end_us   INTEGER NOT NULL,
            begin_us       INTEGER NOT NULL,
            expire_us      INTEGER NOT NULL,
            end_us         INTEGER,
            end_reason     TEXT    NOT NULL DEFAULT '',
            CHECK ((state = 'ACTIVE') = (end_us IS NULL))
        ) STRICT;

-- The promise itself: at most one active claim an account.
        CREATE UNIQUE INDEX claim_one_active_per_account ON claim (account_id)
            WHERE state = 'ACTIVE';

        CREATE INDEX claim_active_by_lease ON claim (lease_end_us) WHERE state = 'ACTIVE';

        CREATE INDEX claim_by_account ON claim (account_id, fencing_token);

        CREATE INDEX claim_by_liquidation ON claim (liquidation_id, fencing_token);

        CREATE INDEX claim_ended ON claim (end_us) WHERE end_us IS NOT NULL;

        CREATE TABLE claim_event (
            event_id      INTEGER PRIMARY KEY,
            fencing_token INTEGER NOT NULL REFERENCES claim ON DELETE CASCADE,
            change        TEXT    NOT NULL,
            time_us       INTEGER NOT NULL,
            expire_us     INTEGER NOT NULL,
            reason        TEXT    NOT NULL,
            forced        INTEGER NOT NULL
        ) STRICT;

        CREATE INDEX claim_event_by_claim ON claim_event (fencing_token, event_id);

-- What was completed on an account outlives the claim itself.
        CREATE TABLE settled (
            account_id TEXT    PRIMARY KEY,
            revision   INTEGER NOT NULL
        ) STRICT;
