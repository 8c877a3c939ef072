"""API keys as a table. Needs rich, as `screen` does."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from liquidation.auth.keys import KeyEntry, KeyState, Permission
from liquidation.cli.drawing import a_console, a_table, cell
from liquidation.cli.texts import moment

__all__ = ["write_keys"]

_STYLES: Final = {KeyState.GOOD: "green", KeyState.EXPIRED: "red", KeyState.REVOKED: "dim"}


def write_keys(entries: Iterable[KeyEntry], now: datetime) -> None:
    """A row a key: whose it is, whether it is taken at `now`, what it allows. No hash."""
    table = a_table("name", "id", "state", "permissions", "created (UTC)", "expires (UTC)")
    for entry in entries:
        state = entry.state(now)
        table.add_row(
            cell(entry.name),
            cell(entry.key_id),
            cell(state.value, _STYLES[state]),
            cell(", ".join(each.value for each in Permission if each in entry.permissions)),
            cell(moment(entry.created)),
            cell("never" if entry.expires is None else moment(entry.expires)),
        )
    a_console().print(table)
