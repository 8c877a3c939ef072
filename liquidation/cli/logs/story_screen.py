"""A decision's or a claim's story on a screen; needs rich."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from rich.console import Console

from liquidation.analysis.reader import Entry
from liquidation.analysis.story import ClaimTrail, DecisionTrail, Explained
from liquidation.cli.drawing import a_console, a_table, cell
from liquidation.cli.logs.screen import write_line
from liquidation.cli.logs.wording import latency
from liquidation.rules.model import Liquidation, Outcome
from liquidation.rules.numbers import plain

__all__ = ["write_claim", "write_decision"]

_STYLES: Final = {
    Outcome.PASSED: "green",
    Outcome.REFUSED: "red",
    Outcome.SKIPPED: "dim",
    Outcome.SHADOW_REFUSED: "yellow",
}
# What a line says of itself, in this order, where it says it.
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


def write_decision(story: DecisionTrail) -> None:
    """Who asked what, what was decided, why, and what became of the claim."""
    console = a_console()
    _title(console, f"Decision {story.decision_id}")
    if story.entry is not None:
        fields = story.entry.fields
        accepted = fields.get("outcome") == "accepted"
        told = "accepted" if accepted else f"refused: {fields.get('code')} {fields.get('message')}"
        by = f" (rule {fields['rule']})" if fields.get("rule") else ""
        console.print(cell(told + by, "bold green" if accepted else "bold red"))
        _write_said(console, fields)
        _write_shadow(console, fields)
        _write_candidate(console, fields)
    _write_lines(console, "Also under this id", [*story.notes, *story.again])
    _write_tracebacks(console, story.notes)
    if story.explained is None:
        console.print(cell(f"Not decided again: {story.why_not}.", "yellow"))
    else:
        _write_explained(console, story.explained)
    if story.claim is not None:
        _write_life(console, story.claim)


def write_claim(story: ClaimTrail) -> None:
    """A claim's life, and who was refused because of it."""
    _write_life(a_console(), story)


def _title(console: Console, text: str) -> None:
    console.print(cell(text, "bold"))


def _write_said(console: Console, fields: Mapping[str, Any]) -> None:
    table = a_table("asked and answered", "")
    for key, name in _SAID.items():
        value = fields.get(key)
        text = latency(value) if key == "latency_us" else "" if value is None else str(value)
        if text:
            table.add_row(cell(name), cell(text))
    for name, text in _terms_of_symbols(fields.get("request")):
        table.add_row(cell(name), cell(text))
    console.print(table)


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


def _write_shadow(console: Console, fields: Mapping[str, Any]) -> None:
    shadow = fields.get("shadow")
    for each in shadow if isinstance(shadow, list) else []:
        if isinstance(each, dict):
            told = f"{each.get('rule')}: {each.get('code')} {each.get('message')}"
            console.print(cell(f"in shadow mode, refused nothing: {told}", "yellow"))


def _write_candidate(console: Console, fields: Mapping[str, Any]) -> None:
    candidate = fields.get("candidate")
    if isinstance(candidate, dict):
        told = f"{candidate.get('outcome')} {candidate.get('code')} {candidate.get('message')}"
        by = f" (rule {candidate['rule']})" if candidate.get("rule") else ""
        version = candidate.get("rules_version")
        console.print(cell(f"candidate rules {version} say: {told.rstrip()}{by}", "yellow"))


def _write_tracebacks(console: Console, notes: list[Entry]) -> None:
    for note in notes:
        if isinstance(traceback := note.fields.get("traceback"), str):
            console.print(cell(traceback.rstrip(), "red"))


def _write_explained(console: Console, explained: Explained) -> None:
    if (liquidation := explained.given.liquidation) is not None:
        _write_snapshot(console, liquidation, _snapshot_from(explained))
    _title(console, f"Decided again by rules version {explained.decision.rules_version}")
    console.print(cell(f"rules from {explained.rules_from}", "dim"))
    if explained.differs:
        told = f"The decision is not that of the line: {', '.join(explained.differs)} differ."
        console.print(cell(told, "bold yellow"))
    else:
        console.print(cell("The same decision.", "green"))
    table = a_table("rule", "outcome", "facts")
    for result in explained.decision.trace:
        facts = "\n".join(f"{name} = {fact}" for name, fact in sorted(result.facts.items()))
        outcome = result.outcome.name.lower().replace("_", " ")
        if result.refusal is not None:
            outcome = f"{outcome} {result.refusal.row.code}"
        table.add_row(cell(result.rule), cell(outcome, _STYLES[result.outcome]), cell(facts))
    console.print(table)
    _write_distances(console, explained)


def _snapshot_from(explained: Explained) -> str:
    state = explained.given.state
    stored = None if state is None else state.liquidation
    return "stored" if explained.given.liquidation is stored else "sent with the request"


def _write_snapshot(console: Console, liquidation: Liquidation, source: str) -> None:
    tier, revision = liquidation.tier.name, liquidation.revision
    _title(console, f"Snapshot, {source}: tier {tier}, revision {revision}")
    table = a_table("symbol", "quantity", "mark price", "notional")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in liquidation.positions:
        numbers = (each.position_qty, each.mark_price, each.notional)
        table.add_row(cell(each.symbol), *(cell(plain(number)) for number in numbers))
    console.print(table)


def _write_distances(console: Console, explained: Explained) -> None:
    distances = explained.distances()
    if not distances:
        return
    _title(console, "Distance to the threshold")
    table = a_table("of", "ratio", "notional", "takes", "least", "over")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in distances:
        numbers = (each.ratio, each.notional, each.takes, each.least, each.over)
        style = "" if each.passes else "red"
        cells = [cell(plain(number)) for number in numbers[:-1]]
        table.add_row(cell(each.symbol or "all"), *cells, cell(plain(each.over), style))
    console.print(table)
    if any(each.notional < each.least for each in distances):
        console.print(cell("What is worth less than the least must be taken whole.", "dim"))


def _write_life(console: Console, story: ClaimTrail) -> None:
    _title(console, f"Claim {story.claim_id}")
    if not story.lines:
        console.print(cell("No line of the claim itself is in the log.", "yellow"))
    else:
        last = story.lines[-1].fields
        console.print(cell(f"state {last.get('state')}, fencing token {last.get('fencing_token')}"))
    _write_lines(console, "Its life", story.lines, story.lines_in_all)
    _write_lines(console, "Refused because of it", story.refused, story.refused_in_all)


def _write_lines(
    console: Console, title: str, entries: list[Entry], in_all: int | None = None
) -> None:
    if not entries:
        return
    console.print(cell(title, "bold"))
    for entry in entries[:_MAX_LINES]:
        write_line(console, entry, "  ")
    left = (len(entries) if in_all is None else in_all) - min(len(entries), _MAX_LINES)
    if left > 0:
        console.print(cell(f"  and {left:,} more", "dim"))
