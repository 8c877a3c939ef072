"""`liquidation logs tail`: the lines of a log, for people or, untouched, for programs."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from liquidation.analysis.reader import Entry, Reader, follow
from liquidation.analysis.search import Filter
from liquidation.cli.logs import file_options, filter_options, log_paths, tell_broken
from liquidation.cli.options import Piece, printable, screen

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

# How long a file that does not grow is left alone, in seconds.
_POLL_S: Final = 0.2
# Lines that are there before what is followed.
_BEFORE: Final = 10

# Characters from which on there is room for dates.
_FOR_DATES: Final = 120
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STYLES: Final = {"accepted": "green", "refused": "red"}
_LEVELS: Final = {"error": "bold red", "warning": "yellow"}
# Calls whose names say no more than what is asked.
_ACTIONS: Final = {
    "CheckClaim": "check",
    "BatchCheckClaims": "batch",
    "StreamCheckClaims": "stream",
    "PutLiquidation": "put",
    "BatchPutLiquidations": "put all",
    "CloseLiquidation": "close",
}
# What a note says beside its event; keys that are not listed are not shown.
_TOLD: Final = (
    "addresses", "rules_version", "store", "workers", "decision_id", "file", "problem", "lost",
    "log_lines_lost",
)  # fmt: skip
# Characters of a claim's id that tell it from others.
_SHORT: Final = 8
_MAX_RATIOS: Final = 3
# Characters of an id or of a ratio that are shown.
_MAX_TEXT: Final = 24
_MS: Final = 1000

_Write = Callable[[Entry], None]


@click.command()
@file_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, also when rotated.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    help="Only the last so many that fit.  [default: all; 10 with --follow]",
)
@click.option("--raw", is_flag=True, help="The lines as they are, for programs.")
@filter_options
def tail(
    files: tuple[Path, ...],
    *,
    rotated: bool,
    follow: bool,
    lines: int | None,
    raw: bool,
    **filters: Any,
) -> None:
    """Show lines of the decision log in FILEs, plain or compressed, or of standard input.

    \b
    Examples:
      liquidation logs tail decisions.log --follow
      liquidation logs tail decisions.log --rotated --code -1201 --since 2h
      liquidation logs tail decisions.log --account account-1 --raw | jq .request
    """
    paths = log_paths(files, rotated=rotated)
    if follow and (not paths or Path("-") in paths):
        raise click.UsageError("--follow needs a FILE; standard input is read to its end anyway")
    if follow and any(path.suffix == ".gz" for path in paths):
        raise click.UsageError("--follow is for a log that grows; a .gz file does not")
    reader, wanted = Reader(paths), Filter(**filters)
    write = _writer(raw=raw, at_once=follow or not paths)
    try:
        if follow:
            _follow(paths, reader, wanted, _BEFORE if lines is None else lines, write)
        else:
            _show(_fitting(reader, wanted), lines, write)
    except KeyboardInterrupt:
        # That is how following ends.
        pass
    finally:
        sys.stdout.flush()
        tell_broken(reader)


def _fitting(reader: Reader, wanted: Filter) -> Iterator[Entry]:
    return (entry for entry in reader if wanted.matches(entry.fields))


def _show(entries: Iterator[Entry], lines: int | None, write: _Write) -> None:
    for entry in entries if lines is None else deque(entries, maxlen=lines):
        write(entry)


def _follow(paths: list[Path], reader: Reader, wanted: Filter, before: int, write: _Write) -> None:
    """Shows the last lines that are there, and from then on every line."""
    last: deque[Entry] = deque(maxlen=before)
    caught_up = False

    def wait() -> None:
        nonlocal caught_up
        caught_up = True
        while last:
            write(last.popleft())
        time.sleep(_POLL_S)

    for entry in follow(paths, wait, reader.report_broken):
        if wanted.matches(entry.fields):
            if caught_up:
                write(entry)
            else:
                last.append(entry)


def _writer(*, raw: bool, at_once: bool) -> _Write:
    """What writes a line; `at_once` if somebody waits for each."""
    if raw:
        out = sys.stdout.buffer

        def write_raw(entry: Entry) -> None:
            out.write(entry.raw + b"\n")
            if at_once:
                out.flush()

        return write_raw
    if sys.stdout.isatty():
        try:
            on = screen()
        except click.ClickException:
            pass
        else:
            return lambda entry: write_line(on, entry)

    def write(entry: Entry) -> None:
        sys.stdout.write(" ".join(text for text, _ in pieces(entry.fields)) + "\n")
        if at_once:
            sys.stdout.flush()

    return write


def write_line(on: "Screen", entry: Entry, indent: str = "") -> None:
    """One line of the log, without dates if the screen is narrow."""
    on.pieces(pieces(entry.fields, short=on.width < _FOR_DATES), indent)


def pieces(fields: Mapping[str, Any], *, short: bool = False) -> list[Piece]:
    """What a line says, in order. With `short` the time is without its date."""
    time = str(fields.get("timestamp", ""))
    shown = f"{time[:10]} {time[11:23]}".strip()
    head = [(shown[11:] if short else shown, "dim")]
    tell = _EVENTS.get(str(fields.get("event")), _note) if "seq" in fields else _note
    told = [*head, *tell(fields)]
    return [(printable(text).replace("\n", " "), style) for text, style in told if text]


def latency(microseconds: object) -> str:
    """A span as people read it; "" if there is none."""
    if not isinstance(microseconds, int):
        return ""
    if microseconds < _MS:
        return f"{microseconds} µs"
    if microseconds < _MS * _MS:
        return f"{microseconds / _MS:.1f} ms"
    return f"{microseconds / _MS / _MS:.2f} s"


def _decision(fields: Mapping[str, Any]) -> list[Piece]:
    return [*_outcome(fields), *_asked(fields), *_why(fields)]


def _claim(fields: Mapping[str, Any]) -> list[Piece]:
    told = [*_outcome(fields), *_asked(fields), *_why(fields)]
    if claim_id := str(fields.get("claim_id", "")):
        told.append((f"claim {claim_id[:_SHORT]}", "cyan"))
        told.append((str(fields.get("state", "")), "cyan"))
        if fields.get("state") == "ACTIVE":
            told.append((f"until {_clock(fields.get('expire_us'))}", ""))
        if fields.get("known") is True:
            told.append(("(known)", "dim"))
        request = fields.get("request")
        if isinstance(request, dict) and request.get("force") is True:
            told.append(("by force", "bold yellow"))
        if reason := str(fields.get("end_reason") or ""):
            told.append((f"“{reason}”", ""))
    return told


def _liquidation(fields: Mapping[str, Any]) -> list[Piece]:
    revision = fields.get("revision")
    told = [*_outcome(fields), *_asked(fields), *_why(fields)]
    return [*told, (f"revision {revision}", "")] if revision else told


def _note(fields: Mapping[str, Any]) -> list[Piece]:
    style = _LEVELS.get(str(fields.get("level")), "bold")
    told = [(str(fields.get("event", "")), style)]
    for key in _TOLD:
        value = fields.get(key)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value is not None and value != "":
            told.append((f"{key}={value}", ""))
    if isinstance(traceback := fields.get("traceback"), str):
        # The last line names the error; the others say where.
        told.append((traceback.strip().rpartition("\n")[2], "red"))
    return told


_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Piece]]]] = {
    "decision": _decision,
    "claim": _claim,
    "liquidation": _liquidation,
}


def _outcome(fields: Mapping[str, Any]) -> list[Piece]:
    outcome = str(fields.get("outcome", ""))
    style = _STYLES.get(outcome, "")
    rpc = str(fields.get("rpc", ""))
    action = str(fields.get("change") or _ACTIONS.get(rpc, rpc))
    if action == "refused":
        action = _ACTIONS.get(rpc, rpc)
    return [(f"{outcome:8}", style), (f"{fields.get('code', '')!s:>5}", style), (f"{action:8}", "")]


def _asked(fields: Mapping[str, Any]) -> list[Piece]:
    liquidation_id = fields.get("liquidation_id") or "-"
    return [
        (f"{liquidation_id!s:>6}", "bold"),
        (f"{_or_dash(fields.get('account_id')):12}", ""),
        (f"{_or_dash(fields.get('liquidator_id')):12}", ""),
        (f"{_clipped(_ratio(fields)):6}", ""),
        (f"{latency(fields.get('latency_us')):>8}", "dim"),
    ]


def _why(fields: Mapping[str, Any]) -> list[Piece]:
    rule, message = str(fields.get("rule", "")), str(fields.get("message", ""))
    told = [(f"{rule}:" if rule and message else rule, "yellow"), (message, "")]
    shadow = fields.get("shadow")
    if isinstance(shadow, list):
        rules = ", ".join(str(each.get("rule")) for each in shadow if isinstance(each, dict))
        told.append((f"(in shadow: {rules})", "yellow"))
    candidate = fields.get("candidate")
    if isinstance(candidate, dict):
        otherwise = str(candidate.get("rule") or candidate.get("outcome"))
        told.append((f"(candidate {candidate.get('rules_version')}: {otherwise})", "yellow"))
    return told


def _ratio(fields: Mapping[str, Any]) -> str:
    """What is asked for, such as "1+0.05" or "0.5,1"."""
    ratio = str(fields.get("ratio_qty_request", ""))
    if not ratio:
        ratio = _ratios(fields.get("request"))
    extra = str(fields.get("extra_liquidation_ratio", ""))
    return f"{ratio}+{extra}" if ratio and extra not in {"", "0"} else ratio


def _ratios(request: object) -> str:
    terms = request.get("terms") if isinstance(request, dict) else None
    named = terms.get("symbols") if isinstance(terms, dict) else None
    if not isinstance(named, list):
        return ""
    ratios = [str(each.get("ratio_qty_request")) for each in named if isinstance(each, dict)]
    return ",".join(ratios[:_MAX_RATIOS]) + (",…" if len(ratios) > _MAX_RATIOS else "")


def _or_dash(value: object) -> str:
    return _clipped(str(value)) if value else "-"


def _clipped(text: str) -> str:
    """A caller may send an id or a ratio of any length."""
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _clock(microseconds: object) -> str:
    if not isinstance(microseconds, int):
        return ""
    try:
        return f"{_EPOCH + timedelta(microseconds=microseconds):%H:%M:%S}"
    except OverflowError:
        return ""
