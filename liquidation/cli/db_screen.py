"""How a store stands, and what was moved, as tables. Needs rich, as `screen` does."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from liquidation.cli.drawing import a_console, a_table, cell
from liquidation.cli.texts import moment
from liquidation.store.base import StoreStats
from liquidation.store.locations import StoreLocation
from liquidation.store.sqlite import schema
from liquidation.store.sqlite.status import FileStatus

if TYPE_CHECKING:
    # They need the extra `postgres`.
    from liquidation.store.copying import Copied
    from liquidation.store.postgres.status import DatabaseStatus

__all__ = ["Progress", "write_copied", "write_status"]

_UNSEEN: Final = "a member of pg_monitor sees its state"
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Progress:
    """How many rows are copied and compared, on standard error."""

    def __init__(self) -> None:
        # Standard output is not to be touched: it holds the result.
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.fields[rows]:,} rows {task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("copied", total=None, rows=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: str, rows: int) -> None:
        """Shows that so many rows are `done`: copied, or compared."""
        self._bar.update(self._task, description=done, rows=rows)


def write_status(store: StoreLocation, found: "FileStatus | DatabaseStatus") -> None:
    """How a store stands: what it is, what it holds, and what is to be said of that."""
    console = a_console()
    console.print(cell(store.told, "bold"))
    facts = _of_file(found) if isinstance(found, FileStatus) else _of_database(found)
    table = _plain_table()
    for name, text in facts:
        table.add_row(name, cell(text))
    console.print(table)
    for problem in found.problems:
        console.print(cell(f" wrong  {problem}", "red"))
    for note in found.notes:
        console.print(cell(f" note   {note}", "yellow"))
    if not found.problems:
        console.print(cell(" The service can work on it.", "green"))
    else:
        console.print(cell(" The service cannot work on it.", "red"))


def _of_file(found: FileStatus) -> Iterator[tuple[str, str]]:
    if not found.exists:
        yield "file", "is not there yet" + ("; a start makes it" if found.writable else "")
        return
    yield "file", f"{_size(found.size)}, and {_size(found.log_size)} of write-ahead log"
    yield "schema", _schema(found.version, schema.NEWEST, migrates=found.migrates)
    yield from _holdings(found.holds, "")


def _of_database(found: "DatabaseStatus") -> Iterator[tuple[str, str]]:
    from liquidation.store.postgres.schema import NEWEST  # noqa: PLC0415 - it needs an extra

    server, state = found.server, found.state
    role = "standby" if server.standby else "primary"
    yield "server", f"PostgreSQL {server.version} at {found.address}, {role}"
    where = f"schema {server.schema}" if server.schema else "no schema of the search_path is there"
    yield "database", f"{server.database}, {where}, as role {server.user}"
    told = _schema(state.version, NEWEST, migrates=found.migrates)
    oldest = f"\nservices that know version {state.oldest_service} or a newer one can use it"
    yield "schema", told + (oldest if state.version else "")
    yield "commits", _commits(found)
    yield from _holdings(found.holds, found.uncounted)
    if found.sizes:
        yield "tables", "\n".join(f"{name} {_size(size)}" for name, size in found.sizes.items())


def _commits(found: "DatabaseStatus") -> str:
    server = found.server
    lines = [f"synchronous_commit {server.synchronous_commit}"]
    names = server.synchronous_standby_names
    lines.append(f"synchronous_standby_names {names}" if names else "no synchronous standby")
    for each in found.standbys:
        state = f"{each.state}, {each.sync_state}" if each.state else _UNSEEN
        lines.append(f"standby {each.name or 'without a name'}: {state}")
    return "\n".join(lines)


def _schema(version: int, newest: int, *, migrates: bool) -> str:
    if version == newest:
        return f"version {version}, the newest known here"
    told = f"version {version}, {newest} is the newest known here" if version else "none yet"
    return f"{told}; a start makes it {newest}" if migrates else told


def _holdings(holds: StoreStats | None, uncounted: str) -> Iterator[tuple[str, str]]:
    if holds is None:
        if uncounted:
            yield "rows", f"not counted: {uncounted}"
        return
    yield "liquidations", f"{holds.open_liquidations:,} open, {holds.closed_liquidations:,} closed"
    ended = (
        f"{holds.completed:,} completed, {holds.cancelled:,} cancelled, {holds.expired:,} expired"
    )
    over = f", {holds.overdue:,} whose lease ran out" if holds.overdue else ""
    yield "claims", f"{holds.active:,} active{over}\n{ended}"
    yield (
        "first to be purged",
        "none" if holds.oldest_end is None else f"ended {_moment(holds.oldest_end)}",
    )


def write_copied(
    file: StoreLocation, database: StoreLocation, copied: "Copied", seconds: float
) -> None:
    """What was moved, and what is to be done next."""
    console = a_console()
    console.print(cell(f"{file.told} → {database.told}", "bold"))
    table = a_table("table", "rows, copied and compared")
    table.columns[1].justify = "right"
    for name, rows in copied.rows.items():
        table.add_row(cell(name), cell(f"{rows:,}"))
    table.add_section()
    table.add_row("in all", cell(f"{sum(copied.rows.values()):,}"))
    console.print(table)
    table = _plain_table()
    for name, text in _moved(copied, seconds):
        table.add_row(name, cell(text))
    console.print(table)
    console.print(cell(" All is committed. Start the service on the database.", "green"))
    console.print(cell(f" {file.told} is left as it was: start none on it any more."))


def _moved(copied: "Copied", seconds: float) -> Iterator[tuple[str, str]]:
    yield "leases", f"{copied.running:,} run on; {copied.over:,} had run out"
    yield "next fencing token", f"{copied.next_token:,}"
    if copied.replaced:
        yield "replaced", f"{copied.replaced:,} characters U+0000 by U+FFFD, in reasons"
    yield "time", f"{seconds:.1f} s"


def _plain_table() -> Any:
    table = a_table("", "")
    table.show_header = False
    return table


def _moment(time: datetime) -> str:
    return f"{moment(time)} UTC"


def _size(size: int) -> str:
    """A number of bytes as people read it, such as "1.5 MiB"."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit + 1 < len(_UNITS):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} bytes"
