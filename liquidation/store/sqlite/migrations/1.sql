-- Published: never edited; what changes later is a new file. SQLite keeps the text of a statement, so
-- that its indentation stays too.

        CREATE TABLE liquidation (
            liquidation_id INTEGER PRIMARY KEY,
            account_id     TEXT    NOT NULL,
            revision       INTEGER NOT NULL CHECK (revision >= 1),
            snapshot       TEXT    NOT NULL,
            opened_us      INTEGER NOT NULL,
            closed_us      INTEGER
        ) STRICT;

-- Finds the open liquidations of an account, by id, without looking at those that ended.
        CREATE INDEX liquidation_open_by_account ON liquidation (account_id, liquidation_id)
            WHERE closed_us IS NULL;
