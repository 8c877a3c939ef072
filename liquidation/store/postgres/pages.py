"""Where a page of rows ends: in the database, so that no more than that travels."""

from collections.abc import Sequence

from liquidation.store.base import MAX_PAGE_BYTES
from liquidation.store.postgres.transaction import Rows

__all__ = ["bounded", "is_cut"]


def bounded(found: str, columns: str, texts: Sequence[str], table: str, order: str) -> str:
    """The statement that reads `columns` of the first rows of `found`, a query of `table`.

    It ends behind the row with which the `texts` of all reach `MAX_PAGE_BYTES`. The last column of
    each row is how many rows `found` has.
    """
    size = " + ".join(f"octet_length(found.{each}::text)" for each in texts)
    return f"""
        WITH {table} AS (
            SELECT found.*, count(*) OVER () AS rows_found,
                   sum({size}) OVER (ORDER BY found.{order} ROWS UNBOUNDED PRECEDING)
                       - ({size}) AS bytes_before
            FROM ({found}) AS found
        )
        SELECT {columns}, rows_found FROM {table}
        WHERE bytes_before < {MAX_PAGE_BYTES} ORDER BY {order}
    """


def is_cut(rows: Rows, page: Sequence[object]) -> bool:
    """Whether there are more rows than those in the page, which was made of the first of `rows`."""
    return bool(rows) and rows[0][-1] > len(page)
