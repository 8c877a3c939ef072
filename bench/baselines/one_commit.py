"""The service itself, but with one commit a claim: groups of one.

python -m bench.baselines.one_commit [FLAGS OF `liquidation serve`]
"""

import sys
from functools import partialmethod
from unittest import mock

from liquidation import cli
from liquidation.store.postgres.store import PostgresStore
from liquidation.store.sqlite.store import SqliteStore

__all__ = ["main"]


def main() -> None:
    """Serves until SIGTERM, as `liquidation serve` does."""
    # The only place in the benchmarks that changes the service: both stores take the size of a
    # group as the argument `group`, and the service leaves it at its default.
    sqlite = partialmethod(SqliteStore.__init__, group=1)
    postgres = partialmethod(PostgresStore.__init__, group=1)
    with (
        mock.patch.object(SqliteStore, "__init__", sqlite),
        mock.patch.object(PostgresStore, "__init__", postgres),
    ):
        cli.main(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
