"""`liquidation check`: may these claims be carried out?"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import orjson

from liquidation.cli.answering import MODES, Answered, Ask, answered, in_process, over
from liquidation.cli.connecting import Server, connected, optional_server_options
from liquidation.cli.options import format_option, policy_of, rules_option, screen
from liquidation.cli.records import record
from liquidation.cli.requests import Line, flags_given, from_flags, from_lines, request_options

__all__ = ["check"]

# Bytes from which on a file is long, and worth a progress bar.
_LONG: Final = 1024 * 1024

Tell = Callable[[str], None]


@click.command(short_help="May these claims be carried out?")
@click.option(
    "--file",
    type=click.File("rb", lazy=True),
    help='CheckClaimRequests as JSON, one a line; "-" is stdin.',
)
@optional_server_options
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
@request_options
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
    write = _write_jsonl if form == "jsonl" else screen().write_answers
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

        write(told(answered(lines, ask)), one=file is None)
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

    Only where standard error is a terminal of its own: where answers go there too they are the
    progress.
    """
    size = _size(file)
    bar = None
    if size >= _LONG and sys.stderr.isatty() and not sys.stdout.isatty():
        try:
            bar = screen().Bar(size)
        except click.ClickException:
            bar = None
    if bar is None:
        yield file, _tell
        return
    with bar:
        yield bar.read(file), bar.tell


def _size(file: BinaryIO) -> int:
    """Bytes of a regular file; 0 for what has no size, such as a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, UnsupportedOperation):
        return 0


def _tell(problem: str) -> None:
    click.echo(problem, err=True)


def _write_jsonl(outcomes: Iterable[Answered], *, one: bool) -> None:  # noqa: ARG001 - as tables
    for each in outcomes:
        click.echo(orjson.dumps(record(each)))
