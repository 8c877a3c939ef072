"""Where a page of rows ends."""

from collections.abc import Callable, Iterable
from typing import Any

from liquidation.store.base import MAX_PAGE_BYTES

__all__ = ["page_of"]

Row = tuple[Any, ...]


def page_of(
    rows: Iterable[Row], size: int, texts: Callable[[Row], tuple[str, ...]]
) -> tuple[list[Row], bool]:
    """Up to `size` rows, and whether there are more; `texts` are what makes a row large.

    It ends behind the row with which it reaches `MAX_PAGE_BYTES`, and has at least one.
    """
    page: list[Row] = []
    room = MAX_PAGE_BYTES
    for row in rows:
        if len(page) == size or room <= 0:
            return page, True
        page.append(row)
        room -= sum(len(text.encode()) for text in texts(row))
    return page, False
