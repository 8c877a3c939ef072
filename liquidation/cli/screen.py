"""Tables and the progress bar. The only module that needs rich."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO, Final, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from liquidation.cli.answering import Answered
from liquidation.client import ClaimAnswer, LiquidationRefused
from liquidation.core.catalogue import OWN_WORDS, TABLE
from liquidation.core.numbers import plain
from liquidation.v1 import liquidation_pb2
from liquidation.values import CheckedClaim, RuleMode, RuleOutcome, Rules

__all__ = ["Bar", "write_answers", "write_errors", "write_rules"]

# Rows that are drawn as one table, and so held in memory.
_PAGE: Final = 500
# Characters below which a screen is narrow.
_NARROW: Final = 80
# Characters of what is no terminal: nobody's screen cuts it.
_UNBOUND: Final = 160
# Ratios of a request that are shown.
_MAX_RATIOS: Final = 3

# The columns of answers, and how each is laid out.
_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "line": {"justify": "right"},
    "liquidation": {"justify": "right"},
    "liquidator": {"overflow": "ellipsis", "no_wrap": True, "max_width": 20},
    "ratio": {"max_width": 14},
    "outcome": {},
    "code": {"justify": "right"},
    "message": {},
    "least ratio": {"justify": "right", "max_width": 10},
}
# Those of a narrow screen: code and message stand together, and tell the outcome too.
_NARROW_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "line": {"justify": "right"},
    "id": {"justify": "right"},
    "ratio": {"max_width": 8},
    "least": {"justify": "right", "max_width": 8},
    "answer": {},
}

_STYLES: Final = {
    RuleOutcome.PASSED: "green",
    RuleOutcome.REFUSED: "red",
    RuleOutcome.SKIPPED: "dim",
    RuleOutcome.SHADOW_REFUSED: "yellow",
}
_MODE_STYLES: Final = {RuleMode.ENFORCE: "green", RuleMode.SHADOW: "yellow", RuleMode.OFF: "dim"}


class Bar:
    """How far a file is read, on standard error."""

    def __init__(self, size: int) -> None:
        """`size` is the file's, in bytes."""
        self._console = Console(stderr=True, highlight=False)
        # Standard output is not to be touched: it holds the answers.
        self._progress = Progress(
            TextColumn("{task.percentage:3.0f} %"),
            BarColumn(),
            TextColumn("{task.fields[lines]:,} lines"),
            TimeElapsedColumn(),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=size, lines=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """The lines of `file`, moving the bar."""
        for number, line in enumerate(file, 1):
            self._progress.update(self._task, advance=len(line), lines=number)
            yield line

    def tell(self, problem: str) -> None:
        """Writes a line above the bar."""
        self._console.print(Text(problem))


def write_answers(outcomes: Iterable[Answered], *, one: bool) -> None:
    """A row an answer, and how often each code was given; of `one` request all that is known."""
    console = _console()
    columns = _NARROW_COLUMNS if console.width < _NARROW else _COLUMNS
    counts: Counter[tuple[int, str]] = Counter()
    rows = iter(outcomes)
    while page := list(islice(rows, _PAGE)):
        table = _table()
        for name, layout in columns.items():
            table.add_column(name, **{"overflow": "fold", **layout})
        for each in page:
            row = _row(each)
            table.add_row(*(row[name] for name in columns))
        console.print(table)
        counts.update(_code(each) for each in page)
        if one and page[0].answer is not None:
            _write_details(console, page[0].answer)
    if not one:
        _write_counts(console, counts)


def _row(each: Answered) -> dict[str, Text]:
    """The texts of all columns; what a caller wrote is shown as text, whatever it holds."""
    answer, request = each.answer, each.line.request
    code, message, outcome, style = "0", "", "accepted", "green"
    if answer is None:
        code, message, outcome, style = "", each.line.problem, "no request", "yellow"
    elif isinstance(answer, LiquidationRefused):
        code, message, outcome, style = str(answer.code), answer.message, "refused", "red"
    decision = None if answer is None else answer.decision
    liquidation = _text("" if request is None else str(request.terms.liquidation_id))
    least = _text("" if decision is None else _number(decision.least_req_ratio))
    head = {"": f"{outcome}:", "0": outcome}.get(code, code)
    return {
        "line": _text(str(each.line.number)),
        "liquidation": liquidation,
        "id": liquidation,
        "liquidator": _text("" if request is None else request.terms.liquidator_id),
        "ratio": _text("" if request is None else _ratio(request.terms)),
        "outcome": _text(outcome, style),
        "code": _text(code, style),
        "message": _text(message),
        "least ratio": least,
        "least": least,
        "answer": _text(head, style).append(
            f" {_printable(message)}" if message else "", "default"
        ),
    }


def _code(each: Answered) -> tuple[int, str]:
    if each.answer is None:
        return 1, "no request"
    if isinstance(each.answer, LiquidationRefused):
        return each.answer.code, each.answer.name
    return 0, "accepted"


def _ratio(terms: liquidation_pb2.ClaimTerms) -> str:
    """What is asked for, such as "1 + 0.05" or "0.5, 1"."""
    ratios = [terms.ratio_qty_request] if terms.ratio_qty_request else []
    ratios += [named.ratio_qty_request for named in terms.symbols[: _MAX_RATIOS + 1]]
    text = ", ".join(ratios[:_MAX_RATIOS]) + (", …" if len(ratios) > _MAX_RATIOS else "")
    return f"{text} + {terms.extra_liquidation_ratio}" if terms.extra_liquidation_ratio else text


def _write_counts(console: Console, counts: Counter[tuple[int, str]]) -> None:
    table = _table("code", "name", "count")
    table.columns[0].justify = table.columns[2].justify = "right"
    for (code, name), count in sorted(counts.items(), reverse=True):
        table.add_row(_text("" if code > 0 else str(code)), _text(name), _text(f"{count:,}"))
    table.add_section()
    table.add_row("", _text("in all"), _text(f"{counts.total():,}"))
    console.print(table)


def _write_details(console: Console, answer: ClaimAnswer) -> None:
    """Of one answer what has no room in a row: fields, positions and the trace."""
    if isinstance(answer, LiquidationRefused) and answer.field_violations:
        table = _table("field", "problem")
        for violation in answer.field_violations:
            table.add_row(_text(violation.field), _text(violation.description))
        console.print(table)
    if isinstance(answer, CheckedClaim):
        table = _table("symbol", "qty", "max qty", "notional")
        for column in table.columns[1:]:
            column.justify = "right"
        for taken in answer.positions:
            numbers = (taken.qty, taken.max_qty, taken.notional)
            table.add_row(_text(taken.symbol), *(_text(_number(number)) for number in numbers))
        console.print(table)
    if answer.decision is not None and answer.decision.trace:
        table = _table("rule", "outcome", "facts")
        for result in answer.decision.trace:
            facts = "\n".join(f"{name} = {fact}" for name, fact in sorted(result.facts.items()))
            outcome = "" if result.outcome is None else result.outcome.name.lower()
            style = "" if result.outcome is None else _STYLES[result.outcome]
            table.add_row(_text(result.rule), _text(outcome.replace("_", " "), style), _text(facts))
        console.print(table)


def write_errors() -> None:
    """The catalogue, and the service's own words."""
    console = _console()
    for title, rows in (("The exchange's table", TABLE), ("Words of the service's own", OWN_WORDS)):
        console.print(_text(title, "bold"))
        table = _table("code", "HTTP", "name and words", "gRPC code, and when")
        table.columns[0].justify = "right"
        table.columns[2].ratio = table.columns[3].ratio = 1
        table.show_lines = True
        for row in rows:
            style = "" if row.emitted else "dim"
            words = f"{row.kind.name}\n{row.message}"
            cells = (
                str(row.code),
                f"{row.kind.http_status}",
                words,
                f"{row.grpc.name}\n{row.when}",
            )
            table.add_row(*(_text(cell, style) for cell in cells))
        console.print(table)


def write_rules(rules: Rules) -> None:
    """Version, thresholds, every rule with its mode, and limits."""
    console = _console()
    console.print(_text(f"Rules version {rules.version}", "bold"))
    table = _table("", "rule", "mode")
    table.columns[0].justify = "right"
    for place, each in enumerate(rules.rules, 1):
        mode = "" if each.mode is None else each.mode.value
        style = "" if each.mode is None else _MODE_STYLES[each.mode]
        table.add_row(_text(str(place)), _text(each.rule), _text(mode, style))
    console.print(table)
    table = _table("setting", "value")
    for tier in rules.tiers:
        name = "unknown" if tier.tier is None else tier.tier.name
        table.add_row(
            f"least notional of a claim, tier {name}", f"{_number(tier.min_claim_notional)} USDC"
        )
    table.add_row("lease of a claim that names none", _span(rules.default_lease_ttl))
    table.add_row("ended claims are kept", _span(rules.claim_retention))
    table.add_row("largest request", f"{rules.max_request_bytes:,} bytes")
    table.add_row("calls in progress at once", f"{rules.max_concurrent_calls:,}")
    console.print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _UNBOUND, highlight=False)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _text(text: str, style: str = "") -> Text:
    return Text(_printable(text), style)


def _printable(text: str) -> str:
    """`text` without control characters, which could draw on the user's screen."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def _number(number: Decimal | None) -> str:
    return "" if number is None else plain(number)


def _span(span: timedelta | None) -> str:
    if span is None:
        return ""
    return f"{span.days} days" if span >= timedelta(days=1) else f"{span.total_seconds():g} s"
