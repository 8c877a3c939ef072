"""The embedded store: one SQLite file."""

from typing import Final

from liquidation.store.records import queries_of

SQL: Final = queries_of("liquidation.store.sqlite")
