"""`liquidation logs explain`: the whole trail of one decision or claim."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from liquidation.analysis.reader import Entry, Reader
from liquidation.analysis.search import ClaimTrail, DecisionTrail, Explained, find_trail
from liquidation.cli.logs import file_options, log_paths, tell_broken
from liquidation.cli.logs.tail import latency, write_line
from liquidation.cli.options import Cell, plainly, printable, screen, text
from liquidation.rules.model import Liquidation

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

# What a line says of itself, in this order.
_SAID: Final = {
    "timestamp": "time",
    "rpc": "call",
    "change": "change",
    "request_id": "request id",
    "liquidator_id": "liquidator",
    "account_id": "account",
    "liquidation_id": "liquidation",
    "ratio_qty_request": "ratio asked for",
    "extra_liquidation_ratio": "extra ratio",
    "total_notional": "total notional",
    "least_req_ratio": "least ratio",
    "margin_ratio": "margin ratio",
    "maintenance_margin_ratio": "maintenance margin ratio",
    "revision": "revision",
    "rules_version": "rules version",
    "latency_us": "took",
    "peer": "peer",
    "caller": "caller",
    "trace_id": "trace id",
}
# Lines of one kind that are drawn.
_MAX_LINES: Final = 20


@click.command()
@click.argument("wanted", metavar="DECISION_ID|CLAIM_ID", type=text)
@file_options
def explain(wanted: str, files: tuple[Path, ...], *, rotated: bool) -> None:
    """Tell the whole story of one decision, or of one claim, from the log.

    A decision is made again from what its line says, by the rules that were in force, so that
    every rule can be told with what it compared.

    \b
    Examples:
      liquidation logs explain 2f0941e999248f3a-2 decisions.log
      liquidation logs explain d571ccf7c08b4abeaa3286c37e01a291 decisions.log --rotated
    """
    with _readable_twice(log_paths(files, rotated=rotated)) as paths:
        readers: list[Reader] = []

        def entries() -> Reader:
            readers.append(Reader(paths))
            return readers[-1]

        trail = find_trail(entries, wanted)
        if trail is None:
            tell_broken(readers[0])
            raise click.ClickException(f"the log has no decision or claim {printable(wanted)!r}")
        on = screen("this", "")
        if isinstance(trail, DecisionTrail):
            _write_decision(on, trail)
        else:
            _write_claim(on, trail)
        tell_broken(readers[0])


@contextmanager
def _readable_twice(paths: list[Path]) -> Iterator[list[Path]]:
    """The files to read; standard input is put into one, since a trail is looked for twice."""
    if paths and Path("-") not in paths:
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="liquidation-") as folder:
        kept = Path(folder) / "standard-input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [kept if path == Path("-") else path for path in paths] or [kept]


def _write_decision(on: "Screen", trail: DecisionTrail) -> None:
    """Who asked what, what was decided, why, and what became of the claim."""
    on.line(f"Decision {trail.decision_id}", "bold")
    if trail.entry is not None:
        fields = trail.entry.fields
        accepted = fields.get("outcome") == "accepted"
        told = "accepted" if accepted else f"refused: {fields.get('code')} {fields.get('message')}"
        by = f" (rule {fields['rule']})" if fields.get("rule") else ""
        on.line(told + by, "bold green" if accepted else "bold red")
        _write_said(on, fields)
        _write_shadow(on, fields)
        _write_candidate(on, fields)
    _write_lines(on, "Also under this id", [*trail.notes, *trail.again])
    _write_tracebacks(on, trail.notes)
    if isinstance(trail.explained, str):
        on.line(f"Not decided again: {trail.explained}.", "yellow")
    else:
        _write_explained(on, trail.explained)
    if trail.claim is not None:
        _write_claim(on, trail.claim)


def _write_said(on: "Screen", fields: Mapping[str, Any]) -> None:
    rows = []
    for key, name in _SAID.items():
        value = fields.get(key)
        said = latency(value) if key == "latency_us" else "" if value is None else str(value)
        if said:
            rows.append((name, said))
    on.table(("asked and answered", ""), [*rows, *_terms_of_symbols(fields.get("request"))])


def _terms_of_symbols(request: object) -> Iterator[tuple[str, str]]:
    """The first few terms that are about one symbol: its ratio, its limit price."""
    terms = request.get("terms") if isinstance(request, dict) else None
    if not isinstance(terms, dict):
        return
    symbols, limits = terms.get("symbols"), terms.get("limit_price")
    for each in symbols[:_MAX_LINES] if isinstance(symbols, list) else ():
        if isinstance(each, dict):
            yield f"ratio of {each.get('symbol')}", str(each.get("ratio_qty_request"))
    if isinstance(limits, dict):
        for symbol, price in islice(limits.items(), _MAX_LINES):
            yield f"limit price of {symbol}", str(price)


def _write_shadow(on: "Screen", fields: Mapping[str, Any]) -> None:
    shadow = fields.get("shadow")
    for each in shadow if isinstance(shadow, list) else []:
        if isinstance(each, dict):
            told = f"{each.get('rule')}: {each.get('code')} {each.get('message')}"
            on.line(f"in shadow mode, refused nothing: {told}", "yellow")


def _write_candidate(on: "Screen", fields: Mapping[str, Any]) -> None:
    candidate = fields.get("candidate")
    if isinstance(candidate, dict):
        told = f"{candidate.get('outcome')} {candidate.get('code')} {candidate.get('message')}"
        by = f" (rule {candidate['rule']})" if candidate.get("rule") else ""
        version = candidate.get("rules_version")
        on.line(f"candidate rules {version} say: {told.rstrip()}{by}", "yellow")


def _write_tracebacks(on: "Screen", notes: list[Entry]) -> None:
    for note in notes:
        if isinstance(traceback := note.fields.get("traceback"), str):
            on.line(traceback.rstrip(), "red")


def _write_explained(on: "Screen", explained: Explained) -> None:
    if (liquidation := explained.given.liquidation) is not None:
        _write_snapshot(on, liquidation, _snapshot_from(explained))
    on.line(f"Decided again by rules version {explained.decision.rules_version}", "bold")
    on.line(f"rules from {explained.rules_from}", "dim")
    if explained.differs:
        told = f"The decision is not that of the line: {', '.join(explained.differs)} differ."
        on.line(told, "bold yellow")
    else:
        on.line("The same decision.", "green")
    on.trace(
        (
            each.rule,
            each.outcome.name + (f" {each.refusal.row.code}" if each.refusal else ""),
            each.facts,
        )
        for each in explained.decision.trace
    )
    _write_distances(on, explained)


def _snapshot_from(explained: Explained) -> str:
    state = explained.given.state
    stored = None if state is None else state.liquidation
    return "stored" if explained.given.liquidation is stored else "sent with the request"


def _write_snapshot(on: "Screen", liquidation: Liquidation, source: str) -> None:
    tier, revision = liquidation.tier.name, liquidation.revision
    on.line(f"Snapshot, {source}: tier {tier}, revision {revision}", "bold")
    on.table(
        ("symbol", ">quantity", ">mark price", ">notional"),
        (
            (each.symbol, *map(plainly, (each.position_qty, each.mark_price, each.notional)))
            for each in liquidation.positions
        ),
    )


def _write_distances(on: "Screen", explained: Explained) -> None:
    distances = explained.distances()
    if not distances:
        return
    on.line("Distance to the threshold", "bold")
    rows: list[tuple[Cell, ...]] = []
    for each in distances:
        numbers = (each.ratio, each.notional, each.takes, each.least)
        over = (plainly(each.over), "" if each.passes else "red")
        rows.append((each.symbol or "all", *map(plainly, numbers), over))
    on.table(("of", ">ratio", ">notional", ">takes", ">least", ">over"), rows)
    if any(each.notional < each.least for each in distances):
        on.line("What is worth less than the least must be taken whole.", "dim")


def _write_claim(on: "Screen", trail: ClaimTrail) -> None:
    on.line(f"Claim {trail.claim_id}", "bold")
    if not trail.lines:
        on.line("No line of the claim itself is in the log.", "yellow")
    else:
        last = trail.lines[-1].fields
        on.line(f"state {last.get('state')}, fencing token {last.get('fencing_token')}")
    _write_lines(on, "Its life", trail.lines, trail.lines_in_all)
    _write_lines(on, "Refused because of it", trail.refused, trail.refused_in_all)


def _write_lines(on: "Screen", title: str, entries: list[Entry], in_all: int | None = None) -> None:
    if not entries:
        return
    on.line(title, "bold")
    for entry in entries[:_MAX_LINES]:
        write_line(on, entry, "  ")
    left = (len(entries) if in_all is None else in_all) - min(len(entries), _MAX_LINES)
    if left > 0:
        on.line(f"  and {left:,} more", "dim")
