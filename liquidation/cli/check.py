"""`liquidation check`: may these claims be carried out?"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import UnsupportedOperation
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
from google.protobuf.duration_pb2 import Duration

from liquidation.cli.asking import Server, connected, proto_json, server_options
from liquidation.cli.options import (
    NARROW,
    PAGE,
    Cell,
    format_option,
    plainly,
    policy_of,
    progress_bar,
    rules_option,
    screen,
    size_of,
    with_options,
    write_json,
)
from liquidation.cli.requests import (
    MODES,
    REQUEST_OPTIONS,
    Answered,
    Ask,
    Line,
    answered,
    flags_given,
    from_flags,
    from_lines,
    in_process,
    over,
)
from liquidation.client import ClaimAnswer, LiquidationRefused
from liquidation.v1.liquidation_pb2 import ClaimedPosition, ClaimTerms, Decision

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

# Ratios of a request that are shown.
_MAX_RATIOS: Final = 3
# The columns of answers, and how each is laid out.
_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    ">line": {},
    ">liquidation": {},
    "liquidator": {"overflow": "ellipsis", "no_wrap": True, "max_width": 20},
    "ratio": {"max_width": 14},
    "outcome": {},
    ">code": {},
    "message": {},
    ">least ratio": {"max_width": 10},
}
# Those of a narrow screen: code and message stand together, and tell the outcome too.
_NARROW_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    ">line": {},
    ">id": {},
    "ratio": {"max_width": 8},
    ">least": {"max_width": 8},
    "answer": {},
}

Tell = Callable[[str], None]


@click.command(short_help="May these claims be carried out?")
@click.option(
    "--file",
    type=click.File("rb", lazy=True),
    help='CheckClaimRequests as JSON, one a line; "-" is stdin.',
)
@server_options(optional=True)
@click.option(
    "--mode",
    type=click.Choice(list(MODES)),
    help="How the server is asked.  [default: stream for a file, unary for one request]",
)
@rules_option
@format_option("jsonl", help_="For people, or for programs: one JSON object a line.")
@click.option(
    "--explain",
    is_flag=True,
    help="Ask for every rule's outcome: in jsonl, and in the table of one request.",
)
@with_options(REQUEST_OPTIONS)
def check(
    *,
    file: BinaryIO | None,
    server: Server | None,
    mode: str | None,
    rules: Path | None,
    form: str,
    explain: bool,
    **flags: Any,
) -> None:
    """May these claims be carried out? Asks a server, or runs the rules in this process.

    One request comes from flags, many come from a file. In this process nothing is stored: a
    request without its liquidation is refused with -1202.

    \b
    Examples:
      liquidation check --file requests.jsonl --format jsonl
      liquidation check --file - --address 127.0.0.1:50051 <requests.jsonl
      liquidation check --liquidation-id 101 --liquidator-id me --ratio 0.5 \\
          --account-id account-1 --tier low --position PERP_BTC_USDC:0.5:40000 \\
          --margin-ratio 0.008 --maintenance-margin-ratio 0.012 --explain

    \b
    Exit status:
      0  every request was answered, accepted and refused alike
      1  a line holds no request, or the server did not answer, or not take the key
      2  the command was not used as it is meant to be
    """
    _require_one_source(file, flags)
    if server is None and mode is not None:
        raise click.UsageError("--mode says how a server is asked: it needs --address")
    if server is not None and rules is not None:
        raise click.UsageError("--address and --rules exclude each other")
    on = None if form == "jsonl" else screen()
    unanswered = 0
    with ExitStack() as open_until_done:
        ask = _asked(
            open_until_done, server, mode or ("unary" if file is None else "stream"), rules
        )
        lines, tell = _lines(open_until_done, file, flags, explain=explain)

        def told(outcomes: Iterable[Answered]) -> Iterator[Answered]:
            nonlocal unanswered
            for each in outcomes:
                if each.answer is None:
                    unanswered += 1
                    tell(f"line {each.line.number}: {each.line.problem}")
                yield each

        outcomes = told(answered(lines, ask))
        if on is None:
            for each in outcomes:
                write_json(_record(each), option=0)
        else:
            _write_answers(on, outcomes, one=file is None)
    if unanswered:
        sys.exit(1)


def _require_one_source(file: BinaryIO | None, flags: dict[str, Any]) -> None:
    if file is not None and flags_given(flags):
        raise click.UsageError("--file and the flags of one request exclude each other")
    if file is None and flags["liquidation_id"] is None:
        raise click.UsageError("give --file, or one request by --liquidation-id and further flags")


def _asked(open_until_done: ExitStack, server: Server | None, mode: str, rules: Path | None) -> Ask:
    if server is None:
        return in_process(policy_of(rules))
    return over(open_until_done.enter_context(connected(server)), mode)


def _lines(
    open_until_done: ExitStack, file: BinaryIO | None, flags: dict[str, Any], *, explain: bool
) -> tuple[Iterable[Line], Tell]:
    """The requests, and how a problem of one of them is told."""
    if file is None:
        request = from_flags(flags)
        request.explain = explain
        return (Line(1, request),), _tell
    lines, tell = open_until_done.enter_context(_read(_own_reader(file)))
    return from_lines(lines, explain=explain), tell


def _own_reader(file: BinaryIO) -> BinaryIO:
    """`file`, or for standard input a reader of our own.

    A stream is read in another thread. Where it still waits for input when the command ends early,
    the interpreter would stumble over the lock of sys.stdin that this thread holds.
    """
    try:
        return open(0, "rb", closefd=False) if file.fileno() == 0 else file
    except UnsupportedOperation:
        return file


@contextmanager
def _read(file: BinaryIO) -> Iterator[tuple[Iterable[bytes], Tell]]:
    """A file's lines. A long one shows on standard error how far it is read.

    Unless answers go to the same terminal: then they are the progress.
    """
    bar = None if sys.stdout.isatty() else progress_bar(size_of(file))
    if bar is None:
        yield file, _tell
        return
    with bar:
        yield bar.read(file), bar.tell


def _tell(problem: str) -> None:
    click.echo(problem, err=True)


def _record(each: Answered) -> dict[str, Any]:
    """What became of a line; `error` alone if it holds no request."""
    answer = each.answer
    if answer is None:
        return {"line": each.line.number, "error": each.line.problem}
    decision = None if answer.decision is None else proto_json(Decision, answer.decision)
    if isinstance(answer, LiquidationRefused):
        return {
            "line": each.line.number,
            "accepted": False,
            "code": answer.code,
            "name": answer.name,
            "message": answer.message,
            "rule": answer.rule,
            "decision": decision,
            "positions": [],
            "details": _details(answer),
        }
    return {
        "line": each.line.number,
        "accepted": True,
        "code": 0,
        "name": "",
        "message": "",
        "rule": "",
        "decision": decision,
        "positions": [proto_json(ClaimedPosition, each) for each in answer.positions],
    }


def _details(refused: LiquidationRefused) -> dict[str, Any]:
    retry_after = None
    if refused.retry_after is not None:
        wait = Duration()
        wait.FromTimedelta(refused.retry_after)
        retry_after = wait.ToJsonString()
    return {
        "http_status": refused.http_status,
        "grpc_code": refused.grpc_code.name,
        "metadata": dict(refused.metadata),
        "field_violations": [
            {"field": each.field, "description": each.description}
            for each in refused.field_violations
        ],
        "retry_after": retry_after,
    }


def _write_answers(on: "Screen", outcomes: Iterable[Answered], *, one: bool) -> None:
    """A row an answer, and how often each code was given; of `one` request all that is known."""
    columns = _NARROW_COLUMNS if on.width < NARROW else _COLUMNS
    counts: Counter[tuple[int, str]] = Counter()
    rest = iter(outcomes)
    while page := list(islice(rest, PAGE)):
        rows = map(_row, page)
        on.table(list(columns.items()), ([row[name] for name in columns] for row in rows))
        counts.update(_code(each) for each in page)
        if one and (answer := page[0].answer) is not None:
            _write_details(on, answer)
    if not one:
        on.table(
            (">code", "name", ">count"),
            (
                ("" if code > 0 else str(code), name, f"{count:,}")
                for (code, name), count in sorted(counts.items(), reverse=True)
            ),
            total=("", "in all", f"{counts.total():,}"),
        )


def _row(each: Answered) -> dict[str, Cell]:
    answer, request = each.answer, each.line.request
    code, message, outcome, style = "0", "", "accepted", "green"
    if answer is None:
        code, message, outcome, style = "", each.line.problem, "no request", "yellow"
    elif isinstance(answer, LiquidationRefused):
        code, message, outcome, style = str(answer.code), answer.message, "refused", "red"
    decision = None if answer is None else answer.decision
    liquidation = "" if request is None else str(request.terms.liquidation_id)
    least = "" if decision is None else plainly(decision.least_req_ratio)
    head = {"": f"{outcome}:", "0": outcome}.get(code, code)
    return {
        ">line": str(each.line.number),
        ">liquidation": liquidation,
        ">id": liquidation,
        "liquidator": "" if request is None else request.terms.liquidator_id,
        "ratio": "" if request is None else _ratio(request.terms),
        "outcome": (outcome, style),
        ">code": (code, style),
        "message": message,
        ">least ratio": least,
        ">least": least,
        "answer": [(head, style), (f" {message}" if message else "", "")],
    }


def _code(each: Answered) -> tuple[int, str]:
    if each.answer is None:
        return 1, "no request"
    if isinstance(each.answer, LiquidationRefused):
        return each.answer.code, each.answer.name
    return 0, "accepted"


def _ratio(terms: ClaimTerms) -> str:
    """What is asked for, such as "1 + 0.05" or "0.5, 1"."""
    ratios = [terms.ratio_qty_request] if terms.ratio_qty_request else []
    ratios += [named.ratio_qty_request for named in terms.symbols[: _MAX_RATIOS + 1]]
    text = ", ".join(ratios[:_MAX_RATIOS]) + (", …" if len(ratios) > _MAX_RATIOS else "")
    return f"{text} + {terms.extra_liquidation_ratio}" if terms.extra_liquidation_ratio else text


def _write_details(on: "Screen", answer: ClaimAnswer) -> None:
    """Of one answer what has no room in a row: fields, positions and the trace."""
    if isinstance(answer, LiquidationRefused):
        violations = ((each.field, each.description) for each in answer.field_violations)
        on.table(("field", "problem"), violations)
    else:
        on.positions("symbol", answer.positions)
    if answer.decision is not None:
        on.trace(
            (each.rule, "" if each.outcome is None else each.outcome.name, each.facts)
            for each in answer.decision.trace
        )
