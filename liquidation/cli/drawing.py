"""What tables are drawn with."""

import sys
from decimal import Decimal
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from liquidation.cli.texts import printable
from liquidation.rules.numbers import plain

__all__ = ["NARROW", "PAGE", "a_console", "a_table", "cell", "plainly"]

# Rows that are drawn as one table, and so held in memory.
PAGE: Final = 500
# Characters below which a screen is narrow.
NARROW: Final = 80
# Characters of what is no terminal: nobody's screen cuts it.
_UNBOUND: Final = 160


def a_console() -> Console:
    """Standard output, as wide as the screen."""
    return Console(width=None if sys.stdout.isatty() else _UNBOUND, highlight=False)


def a_table(*columns: str) -> Table:
    """A table with these columns, whose cells are folded where they have no room."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def cell(text: str, style: str = "") -> Text:
    """A text as it is: nothing in it is taken for markup."""
    return Text(printable(text), style)


def plainly(value: Decimal | None) -> str:
    """A number in plain decimals; "" for None."""
    return "" if value is None else plain(value)
