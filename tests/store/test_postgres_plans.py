"""What PostgreSQL reads for a claim does not grow with what is stored."""

import time

import psycopg

from liquidation.rules.model import ClaimState
from liquidation.store.base import StateQuery
from tests.store.builders import accept, begin_request, snapshot
from tests.store.stores import AwaitedStore, postgres_store

# Rows of other accounts in each table, and claims that are carried out beside them.
STORED = 5_000
CLAIMS = 20

_OTHERS = (
    "INSERT INTO account SELECT 'other-' || i FROM generate_series(1, %(rows)s) AS i",
    """
    INSERT INTO liquidation
    SELECT liquidation_id + 1000000 + i, 'other-' || i, revision, snapshot, open_time
    FROM (SELECT * FROM liquidation LIMIT 1) AS one, generate_series(1, %(rows)s) AS i
    """,
    """
    INSERT INTO claim (claim_id, request_id, account_id, liquidation_id, revision, terms, positions,
                       decision, state, begin_time, expire_time, end_time)
    SELECT 'other-' || i, 'other-' || i, 'other-' || i, liquidation_id + 1000000 + i, revision,
           terms, positions, decision, CASE i %% 2 WHEN 0 THEN 'ACTIVE' ELSE 'COMPLETED' END,
           begin_time, expire_time + interval '1 day', CASE i %% 2 WHEN 1 THEN expire_time END
    FROM (SELECT * FROM claim LIMIT 1) AS one, generate_series(1, %(rows)s) AS i
    """,
)
# Rows that were fetched, from tables read from end to end and by indexes.
_READ = """
    SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
         + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
"""
_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
"""


async def _claims(store: AwaitedStore, numbers: range) -> None:
    """All that is asked about a claim from its begin to its end, once for each number."""
    for number in numbers:
        sent = snapshot(number, account_id=f"account-{number}")
        await store.states([StateQuery(number, "liquidator-1")])
        begun = await store.begin(begin_request(snapshot=sent), accept)
        assert begun.claim is not None
        claim_id, token = begun.claim.claim_id, begun.claim.fencing_token
        assert (await store.renew(claim_id, token, 60_000_000)).applied
        assert (await store.end(claim_id, token, ClaimState.COMPLETED, "")).applied
        (put,) = await store.put([snapshot(number, 9, account_id=f"account-{number}")])
        assert put.applied
        assert await store.close_liquidation(number) is not None
        await store.expire(100)
        await store.purge(3_600_000_000, 100)


async def test_a_claim_reads_few_rows_however_many_are_stored(postgres_database: str) -> None:
    """The statements are planned for good while next to nothing is stored."""
    # With one connection, so that all of them are planned there.
    store = postgres_store(postgres_database, connections=1)
    try:
        await _claims(store, range(1, CLAIMS + 1))
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            for statement in _OTHERS:
                connection.execute(statement, {"rows": STORED})
        before = _read(postgres_database, sessions=1)
        await _claims(store, range(CLAIMS + 1, 2 * CLAIMS + 1))
    finally:
        await store.aclose()
    read = _read(postgres_database, sessions=0) - before

    assert read / CLAIMS < STORED / 10


def _read(database: str, sessions: int) -> int:
    """Rows that were read in all, once no more sessions than these are left.

    With its end a session tells what it has read.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        while (connection.execute(_SESSIONS).fetchone() or (0,))[0] > sessions:
            time.sleep(0.005)
        (read,) = connection.execute(_READ).fetchone() or (0,)
    return int(read or 0)
