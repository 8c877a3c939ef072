"""The one renderer of what people read on a screen: lines, tables, progress. Needs rich."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from liquidation.cli.options import Cell, Column, Piece, plainly, printable
from liquidation.values import ClaimedPosition

# Characters of what is no terminal: nobody's screen cuts it.
_UNBOUND: Final = 160
_OUTCOMES: Final = {
    "PASSED": "green",
    "REFUSED": "red",
    "SKIPPED": "dim",
    "SHADOW_REFUSED": "yellow",
}
# How far in a line goes on that has no room, and the least width that it has.
_FURTHER: Final = "    "
_LEAST: Final = 20


class Screen:
    """Standard output, as wide as the terminal. Nothing in a text is taken for markup."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _UNBOUND
        self._console = Console(width=width, highlight=False)
        self.width = self._console.width

    def line(self, text: str | list[Piece], style: str = "") -> None:
        """A line of text, folded if it has no room."""
        self._console.print(_text((text, style) if isinstance(text, str) else list(text)))

    def pieces(self, pieces: Sequence[Piece], indent: str = "") -> None:
        """A line of pieces; what has no room stands further in."""
        text = Text(" ").join(Text(*piece) for piece in pieces)
        further = indent + _FURTHER
        first, *others = text.wrap(self._console, max(self.width - len(further), _LEAST))
        for at, line in ((indent, first), *((further, other) for other in others)):
            line.rstrip()
            self._console.print(Text(at) + line, soft_wrap=True)

    def table(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[Cell]],
        *,
        total: Sequence[Cell] = (),
        head: bool = True,
        ruled: bool = False,
    ) -> None:
        """A table, if it has rows; `total` stands below a line, `ruled` draws one between rows."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
        table.show_header, table.show_lines = head, ruled
        for column in columns:
            name, layout = (column, {}) if isinstance(column, str) else column
            justify = "right" if name.startswith(">") else "left"
            layout = {"overflow": "fold", "justify": justify} | layout
            table.add_column(name.removeprefix(">"), **layout)
        for row in rows:
            table.add_row(*map(_text, row))
        if total:
            table.add_section()
            table.add_row(*map(_text, total))
        if table.row_count:
            self._console.print(table)

    def facts(self, facts: Iterable[tuple[str, Cell]]) -> None:
        """A name and what there is to say of it, a row each; what says nothing is left out."""
        self.table(("", ""), [fact for fact in facts if fact[1]], head=False)

    def positions(self, head: str, positions: Iterable[ClaimedPosition]) -> None:
        """What a claim takes of each symbol."""
        self.table(
            (head, ">qty", ">max qty", ">notional"),
            (
                (each.symbol, plainly(each.qty), plainly(each.max_qty), plainly(each.notional))
                for each in positions
            ),
        )

    def trace(self, results: Iterable[tuple[str, str, Mapping[str, str]]]) -> None:
        """What became of each rule, and what it compared."""
        rows: list[Sequence[Cell]] = []
        for rule, outcome, facts in results:
            style = _OUTCOMES.get(outcome.partition(" ")[0], "")
            told = "\n".join(f"{name} = {fact}" for name, fact in sorted(facts.items()))
            rows.append((rule, (outcome.lower().replace("_", " "), style), told))
        self.table(("rule", "outcome", "facts"), rows)


def _text(cell: Cell) -> Text:
    if isinstance(cell, str):
        return Text(printable(cell))
    if isinstance(cell, tuple):
        return Text(printable(cell[0]), cell[1])
    return Text.assemble(*((printable(text), style) for text, style in cell))


class _Progress:
    """Progress on standard error; standard output holds the result and is not touched."""

    def __init__(self, *columns: Any, transient: bool = False, **fields: Any) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=transient,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(**fields)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class Bar(_Progress):
    """How far files are read, of `size` bytes in all."""

    def __init__(self, size: int) -> None:
        columns = (
            TextColumn("{task.percentage:3.0f} %"),
            BarColumn(),
            TextColumn("{task.fields[lines]:,} lines"),
        )
        super().__init__(*columns, description="", total=size, lines=0)
        self._lines = 0

    def advance(self, size: int) -> None:
        """Moves the bar by a line of so many bytes."""
        self._lines += 1
        self._progress.update(self._task, advance=size, lines=self._lines)

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """The lines of `file`, moving the bar."""
        for line in file:
            self.advance(len(line))
            yield line

    def tell(self, problem: str) -> None:
        """Writes a line above the bar."""
        self._console.print(Text(problem))


class RowsDone(_Progress):
    """How many rows are copied, or compared."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.fields[rows]:,} rows {task.description}"))
        super().__init__(*columns, transient=True, description="copied", total=None, rows=0)

    def __call__(self, done: str, rows: int) -> None:
        """Shows that so many rows are `done`: copied, or compared."""
        self._progress.update(self._task, description=done, rows=rows)
