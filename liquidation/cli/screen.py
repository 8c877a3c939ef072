"""Tables and the progress bar. With what it draws them with, the only module that needs rich."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, BinaryIO, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from liquidation.cli.answering import Answered
from liquidation.cli.claim_screen import write_claim, write_claims
from liquidation.cli.drawing import NARROW, PAGE, a_console, a_table, cell, plainly
from liquidation.cli.texts import printable
from liquidation.client import ClaimAnswer, LiquidationRefused
from liquidation.rules.errors import OWN_WORDS, TABLE
from liquidation.v1 import liquidation_pb2
from liquidation.values import CheckedClaim, RuleMode, RuleOutcome, Rules

__all__ = [
    "Bar",
    "write_answers",
    "write_claim",
    "write_claims",
    "write_errors",
    "write_rules",
]

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
    console = a_console()
    columns = _NARROW_COLUMNS if console.width < NARROW else _COLUMNS
    counts: Counter[tuple[int, str]] = Counter()
    rows = iter(outcomes)
    while page := list(islice(rows, PAGE)):
        table = a_table()
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
    liquidation = cell("" if request is None else str(request.terms.liquidation_id))
    least = cell("" if decision is None else plainly(decision.least_req_ratio))
    head = {"": f"{outcome}:", "0": outcome}.get(code, code)
    return {
        "line": cell(str(each.line.number)),
        "liquidation": liquidation,
        "id": liquidation,
        "liquidator": cell("" if request is None else request.terms.liquidator_id),
        "ratio": cell("" if request is None else _ratio(request.terms)),
        "outcome": cell(outcome, style),
        "code": cell(code, style),
        "message": cell(message),
        "least ratio": least,
        "least": least,
        "answer": cell(head, style).append(f" {printable(message)}" if message else "", "default"),
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
    table = a_table("code", "name", "count")
    table.columns[0].justify = table.columns[2].justify = "right"
    for (code, name), count in sorted(counts.items(), reverse=True):
        table.add_row(cell("" if code > 0 else str(code)), cell(name), cell(f"{count:,}"))
    table.add_section()
    table.add_row("", cell("in all"), cell(f"{counts.total():,}"))
    console.print(table)


def _write_details(console: Console, answer: ClaimAnswer) -> None:
    """Of one answer what has no room in a row: fields, positions and the trace."""
    if isinstance(answer, LiquidationRefused) and answer.field_violations:
        table = a_table("field", "problem")
        for violation in answer.field_violations:
            table.add_row(cell(violation.field), cell(violation.description))
        console.print(table)
    if isinstance(answer, CheckedClaim):
        table = a_table("symbol", "qty", "max qty", "notional")
        for column in table.columns[1:]:
            column.justify = "right"
        for taken in answer.positions:
            numbers = (taken.qty, taken.max_qty, taken.notional)
            table.add_row(cell(taken.symbol), *(cell(plainly(number)) for number in numbers))
        console.print(table)
    if answer.decision is not None and answer.decision.trace:
        table = a_table("rule", "outcome", "facts")
        for result in answer.decision.trace:
            facts = "\n".join(f"{name} = {fact}" for name, fact in sorted(result.facts.items()))
            outcome = "" if result.outcome is None else result.outcome.name.lower()
            style = "" if result.outcome is None else _STYLES[result.outcome]
            table.add_row(cell(result.rule), cell(outcome.replace("_", " "), style), cell(facts))
        console.print(table)


def write_errors() -> None:
    """The catalogue, and the service's own words."""
    console = a_console()
    for title, rows in (("The exchange's table", TABLE), ("Words of the service's own", OWN_WORDS)):
        console.print(cell(title, "bold"))
        table = a_table("code", "HTTP", "name and words", "gRPC code, and when")
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
            table.add_row(*(cell(each, style) for each in cells))
        console.print(table)


def write_rules(rules: Rules) -> None:
    """Version, thresholds, every rule with its mode, and limits."""
    console = a_console()
    console.print(cell(f"Rules version {rules.version}", "bold"))
    table = a_table("", "rule", "mode")
    table.columns[0].justify = "right"
    for place, each in enumerate(rules.rules, 1):
        mode = "" if each.mode is None else each.mode.value
        style = "" if each.mode is None else _MODE_STYLES[each.mode]
        table.add_row(cell(str(place)), cell(each.rule), cell(mode, style))
    console.print(table)
    table = a_table("setting", "value")
    for tier in rules.tiers:
        name = "unknown" if tier.tier is None else tier.tier.name
        table.add_row(
            f"least notional of a claim, tier {name}", f"{plainly(tier.min_claim_notional)} USDC"
        )
    table.add_row("lease of a claim that names none", _span(rules.default_lease_ttl))
    table.add_row("ended claims are kept", _span(rules.claim_retention))
    table.add_row("largest request", f"{rules.max_request_bytes:,} bytes")
    table.add_row("calls in progress at once", f"{rules.max_concurrent_calls:,}")
    rate = rules.liquidator_requests_per_second
    table.add_row("claims of a liquidator in a second", f"{rate:,}" if rate else "any number")
    console.print(table)


def _span(span: timedelta | None) -> str:
    if span is None:
        return ""
    return f"{span.days} days" if span >= timedelta(days=1) else f"{span.total_seconds():g} s"
