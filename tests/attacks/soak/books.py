"""What a store holds, counted from outside while the service works on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

from liquidation.store.locations import SqliteFile, parse_location
from liquidation.store.sqlite.connections import reading

_MIB: Final = 2**20
_ROWS: Final = """
    SELECT (SELECT count(*) FROM claim),
           (SELECT count(*) FROM claim_event),
           (SELECT count(*) FROM claim_event AS event WHERE NOT EXISTS
               (SELECT 1 FROM claim WHERE claim.fencing_token = event.fencing_token)),
           (SELECT count(*) FROM liquidation),
           (SELECT count(*) FROM {accounts}),
           coalesce((SELECT {age} FROM claim), 0),
"""
_NAMES: Final = (
    "claims",
    "claim events",
    "claim events of no claim",
    "liquidations",
    "accounts",
    "age of the oldest ended claim, s",
    "database, MiB",
    "write-ahead log, MiB",
)
_SQLITE: Final = f"""
    {_ROWS.format(accounts="settled", age="(julianday() - 2440587.5) * 86400 - min(end_us) / 1e6")}
    (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)
"""
# What is written ahead belongs to the whole server, which recycles it.
_POSTGRES: Final = f"""
    {_ROWS.format(accounts="account", age="extract(epoch FROM now() - min(end_time))")}
    pg_database_size(current_database()), 0
"""


def books_of(store: str) -> Callable[[], dict[str, float]]:
    """What counts the rows and bytes of the store at a location."""
    location = parse_location(store)
    if isinstance(location, SqliteFile):
        return lambda: _named(*_sqlite(location.path))
    return lambda: _named(*_postgres(store))


def _sqlite(path: Path) -> tuple[float, ...]:
    wal = path.with_name(f"{path.name}-wal")
    with reading(path) as connection:
        row: tuple[float, ...] = connection.execute(_SQLITE).fetchone()
    return (*row, wal.stat().st_size if wal.exists() else 0)


def _postgres(url: str) -> tuple[float, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(_POSTGRES).fetchone()
    assert row is not None
    return tuple(map(float, row))


def _named(*values: float) -> dict[str, float]:
    *rows, database, wal = values
    return dict(zip(_NAMES, (*rows, database / _MIB, wal / _MIB), strict=True))
